package main

// HTTP/1.1 by hand, the little that both sides need. net/http costs 45 us of CPU per request for stub and load together,
// which on a machine with two cores would make them the bottleneck of every fast target's requests per second.

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
)

const readBuffer = 64 << 10

// head is the start of a request or a reply, with the headers that frame its body.
type head struct {
	line            string // the request line or the status line
	length          int64  // -1: not said
	chunked, closes bool
	expects         bool // the sender waits for 100 Continue
}

func readHead(r *bufio.Reader) (head, error) {
	h := head{length: -1}
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return h, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case h.line == "":
			h.line = string(line)
		case len(line) == 0:
			return h, nil
		default:
			h.read(line)
		}
	}
}

func (h *head) read(line []byte) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	switch len(name) { // most headers are none of these: their length says so for less than a comparison of letters
	case len("content-length"):
		if bytes.EqualFold(name, []byte("content-length")) {
			h.length, _ = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
		}
	case len("transfer-encoding"):
		if bytes.EqualFold(name, []byte("transfer-encoding")) {
			h.chunked = bytes.Contains(bytes.ToLower(value), []byte("chunked"))
		}
	case len("connection"):
		if bytes.EqualFold(name, []byte("connection")) {
			h.closes = bytes.Contains(bytes.ToLower(value), []byte("close"))
		}
	case len("expect"):
		h.expects = h.expects || bytes.EqualFold(name, []byte("expect"))
	}
}

// status of a reply's head; 0 when its first line is no status line.
func (h head) status() int {
	fields := strings.Fields(h.line)
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "HTTP/") {
		return 0
	}
	code, _ := strconv.Atoi(fields[1])
	return code
}

// body reads what follows a head, up to its end and no further: the connection can be used again.
// A reply that says no length ends with the connection; a request without one has no body.
func (h head) body(r *bufio.Reader, isReply bool) io.Reader {
	switch {
	case h.chunked:
		return &chunked{inner: httputil.NewChunkedReader(r), r: r}
	case h.length >= 0:
		return io.LimitReader(r, h.length)
	case isReply:
		return r
	default:
		return bytes.NewReader(nil)
	}
}

// chunked also takes the trailer from the connection, which httputil's reader leaves there.
type chunked struct {
	inner io.Reader
	r     *bufio.Reader
}

func (c *chunked) Read(p []byte) (int, error) {
	n, err := c.inner.Read(p)
	for err == io.EOF {
		line, trouble := c.r.ReadSlice('\n')
		if trouble != nil {
			return n, io.ErrUnexpectedEOF
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
	}
	return n, err
}

// headers collects repeated -header "Name: value" flags.
type headers []string

func (h *headers) String() string { return strings.Join(*h, ", ") }

func (h *headers) Set(value string) error {
	if !strings.Contains(value, ":") {
		return fmt.Errorf("want Name: value, got %q", value)
	}
	*h = append(*h, value)
	return nil
}

// chatRequest is one whole request, ready to be written, and the host:port to write it to.
func chatRequest(target string, extra headers, body string) (host string, request []byte, err error) {
	u, err := url.Parse(target)
	if err != nil {
		return "", nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: */*\r\nUser-Agent: loadgen\r\n",
		u.RequestURI(), u.Host)
	for _, line := range extra {
		fmt.Fprintf(&b, "%s\r\n", line)
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return u.Host, b.Bytes(), nil
}
