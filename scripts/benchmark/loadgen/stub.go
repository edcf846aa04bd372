package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

const (
	smallBody = 64 << 10 // up to here a body is read to see whether a stream is wanted; a larger one is a post of `posts`

	models = `{"object":"list","data":[{"id":"gpt-4o-mini","object":"model","created":1700000000,"owned_by":"loadgen"}]}`
	// 400 bytes: a short answer, as a question about a light switch gets one.
	whole = `{"id":"chatcmpl-0123456789","object":"chat.completion","created":1700000000,"model":"gpt-4o-mini",` +
		`"choices":[{"index":0,"message":{"role":"assistant","content":"The capital of France is Paris, on the Seine.",` +
		`"refusal":null},` +
		`"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":24,"completion_tokens":11,"total_tokens":35,` +
		`"prompt_tokens_details":{"cached_tokens":0}},"system_fingerprint":"fp_0123456789"}`
	chunk = `{"id":"chatcmpl-0123456789","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini",` +
		`"choices":[{"index":0,"delta":%s,"finish_reason":%s}]}`
	usage = `{"id":"chatcmpl-0123456789","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini",` +
		`"choices":[],"usage":{"prompt_tokens":24,"completion_tokens":100,"total_tokens":124}}`
)

// upstream answers chat completions, always the same.
type upstream struct {
	whole, models, missing []byte
	start, word, end       []byte // of a stream: its head and first event; one event; usage, [DONE] and the last chunk
	events                 int
	gap, delay             time.Duration
}

// stub serves until it is killed. Each event of a stream is one write, so that a target sees it as one read.
func stub(args []string) error {
	flags := flag.NewFlagSet("stub", flag.ExitOnError)
	address := flags.String("address", "127.0.0.1:9000", "where to listen")
	events := flags.Int("events", 100, "words in a streamed reply")
	gap := flags.Duration("gap", 10*time.Millisecond, "between two of them")
	delay := flags.Duration("delay", 200*time.Millisecond, "before the answer to a body over 64 KiB: bodies pile up in the target")
	flags.Parse(args)

	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return err
	}
	up := newUpstream(*events, *gap, *delay)
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go up.serve(conn)
	}
}

func newUpstream(events int, gap, delay time.Duration) *upstream {
	first := event(fmt.Sprintf(chunk, `{"role":"assistant","content":""}`, "null"))
	last := event(fmt.Sprintf(chunk, `{}`, `"stop"`)) + event(usage) + event("[DONE]")
	return &upstream{
		whole:   reply("200 OK", whole),
		models:  reply("200 OK", models),
		missing: reply("404 Not Found", `{"error":{"message":"the stub has no such path"}}`),
		start: []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n" +
			"Transfer-Encoding: chunked\r\n\r\n" + framed(first)),
		word:   []byte(framed(event(fmt.Sprintf(chunk, `{"content":" word"}`, "null")))),
		end:    []byte(framed(last) + "0\r\n\r\n"),
		events: events, gap: gap, delay: delay,
	}
}

func event(data string) string { return "data: " + data + "\n\n" }

func framed(data string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(data), data) }

func reply(status, body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
}

func (up *upstream) serve(conn net.Conn) {
	defer conn.Close()
	reader := bufio.NewReaderSize(conn, readBuffer)
	var body bytes.Buffer
	for {
		h, err := readHead(reader)
		if err != nil {
			return
		}
		if h.expects {
			io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		body.Reset()
		rest := h.body(reader, false)
		if _, err := io.CopyN(&body, rest, smallBody); err != nil && err != io.EOF {
			return
		}
		over, err := io.Copy(io.Discard, rest)
		if err != nil {
			return
		}
		if over > 0 {
			time.Sleep(up.delay)
		}
		if up.answer(conn, h, body.Bytes()) != nil || h.closes {
			return
		}
	}
}

func (up *upstream) answer(conn net.Conn, h head, body []byte) (err error) {
	_, path, _ := strings.Cut(h.line, " ")
	path, _, _ = strings.Cut(path, " ")
	switch {
	case strings.HasSuffix(path, "/chat/completions"):
		if bytes.Contains(body, []byte(`"stream":true`)) || bytes.Contains(body, []byte(`"stream": true`)) {
			return up.stream(conn)
		}
		_, err = conn.Write(up.whole)
	case strings.HasSuffix(path, "/models"), strings.HasSuffix(path, "/health"), path == "/":
		_, err = conn.Write(up.models)
	default:
		_, err = conn.Write(up.missing)
	}
	return err
}

func (up *upstream) stream(conn net.Conn) error {
	if _, err := conn.Write(up.start); err != nil {
		return err
	}
	tick := time.NewTicker(up.gap)
	defer tick.Stop()
	for i := 0; i < up.events; i++ {
		<-tick.C
		if _, err := conn.Write(up.word); err != nil {
			return err
		}
	}
	_, err := conn.Write(up.end)
	return err
}
