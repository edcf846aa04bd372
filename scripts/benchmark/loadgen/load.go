package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// 150 bytes: the smallest chat that anybody sends.
const question = `{"model":"gpt-4o-mini","messages":[{"role":"system","content":"Answer in one sentence."},` +
	`{"role":"user","content":"What is the capital of France?"}]`

// The same question, as a caller of Anthropic's dialect asks it.
const message = `{"model":"gpt-4o-mini","max_tokens":1024,"system":"Answer in one sentence.",` +
	`"messages":[{"role":"user","content":"What is the capital of France?"}]`

var errOver = errors.New("the time is over")

// seen is what one connection, and then all of them, saw.
type seen struct {
	latencies, firstEvents []time.Duration
	events, wholeStreams   int
	failed                 int
	firstFailure           string
}

func (s *seen) fail(why string) {
	s.failed++
	if s.firstFailure == "" {
		s.firstFailure = why
	}
}

func (s *seen) add(other seen) {
	s.latencies = append(s.latencies, other.latencies...)
	s.firstEvents = append(s.firstEvents, other.firstEvents...)
	s.events += other.events
	s.wholeStreams += other.wholeStreams
	s.failed += other.failed
	if s.firstFailure == "" {
		s.firstFailure = other.firstFailure
	}
}

// load keeps a number of connections busy for a time, one request after the other on each.
// Streams that are under way at the end are left; their events count.
func load(args []string) error {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	url := flags.String("url", "http://127.0.0.1:9000/v1/chat/completions", "where to post")
	connections := flags.Int("connections", 16, "kept alive, one request at a time on each")
	duration := flags.Duration("for", time.Second, "how long")
	least := flags.Int("least", 0, "go on until so many requests were answered, but at most five times as long")
	most := flags.Int("most", 0, "requests on each connection; 0: as many as the time allows")
	spread := flags.Duration("spread", 0, "start the connections evenly over this time, so that their streams do not tick together")
	stream := flags.Bool("stream", false, "ask for streams")
	messages := flags.Bool("messages", false, "ask as a caller of Anthropic's dialect")
	var extra headers
	flags.Var(&extra, "header", "Name: value, repeated")
	flags.Parse(args)

	body := question
	if *messages {
		body = message
	}
	if *stream {
		body += `,"stream":true`
	}
	body += "}"
	host, request, err := chatRequest(*url, extra, body)
	if err != nil {
		return err
	}
	began := time.Now()
	end, latest := began.Add(*duration), began.Add(5**duration)
	var all seen
	var lock sync.Mutex
	var waiting sync.WaitGroup
	for i := 0; i < *connections; i++ {
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			time.Sleep(*spread * time.Duration(i) / time.Duration(*connections))
			c := caller{host: host, request: request, stream: *stream, most: *most, least: *least / *connections, end: end, latest: latest}
			c.run()
			lock.Lock()
			defer lock.Unlock()
			all.add(c.seen)
		}()
	}
	waiting.Wait()
	seconds := time.Since(began).Seconds()
	slices.Sort(all.latencies)
	slices.Sort(all.firstEvents)
	return say(map[string]any{
		"requests": len(all.latencies), "failed": all.failed, "first_failure": all.firstFailure, "seconds": seconds,
		"p50_us": quantile(all.latencies, 0.5), "p99_us": quantile(all.latencies, 0.99),
		"events": all.events, "whole_streams": all.wholeStreams, "first_event_p50_us": quantile(all.firstEvents, 0.5),
	})
}

// quantile of sorted times, in microseconds.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := min(int(q*float64(len(sorted))), len(sorted)-1)
	return float64(sorted[at]) / float64(time.Microsecond)
}

// caller is one connection, opened again when the target closes it.
type caller struct {
	host        string
	request     []byte
	stream      bool
	most, least int
	end, latest time.Time

	conn   net.Conn
	reader *bufio.Reader
	seen
}

func (c *caller) run() {
	defer c.hangUp()
	for n := 0; c.most == 0 || n < c.most; n++ {
		now := time.Now()
		if now.After(c.latest) || (now.After(c.end) && n >= c.least) {
			return
		}
		err := c.ask()
		if err == errOver {
			return
		}
		if err != nil {
			c.fail(err.Error())
			c.hangUp()
			time.Sleep(10 * time.Millisecond) // a target that refuses is not to be asked in a tight loop
		}
	}
}

func (c *caller) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *caller) dial() (err error) {
	c.conn, err = net.DialTimeout("tcp", c.host, 5*time.Second)
	if err != nil {
		return err
	}
	c.reader = bufio.NewReaderSize(c.conn, readBuffer)
	// Only a stream is broken off at the end; a whole reply has a little longer.
	limit := c.latest.Add(10 * time.Second)
	if c.stream {
		limit = c.latest
	}
	return c.conn.SetDeadline(limit)
}

func (c *caller) ask() error {
	if c.conn == nil {
		if err := c.dial(); err != nil {
			return err
		}
	}
	began := time.Now()
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	h, err := readHead(c.reader)
	if err != nil {
		return over(err)
	}
	body := h.body(c.reader, true)
	if status := h.status(); status != 200 {
		text, _ := io.ReadAll(io.LimitReader(body, 300))
		return fmt.Errorf("%d %s", status, text)
	}
	if c.stream {
		err = c.readEvents(body, began)
	} else {
		_, err = io.Copy(io.Discard, body)
	}
	if err != nil {
		return over(err)
	}
	c.latencies = append(c.latencies, time.Since(began))
	if h.closes {
		c.hangUp()
	}
	return nil
}

func over(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errOver
	}
	return err
}

func (c *caller) readEvents(body io.Reader, began time.Time) error {
	lines := bufio.NewReader(body)
	done := false
	for events := 0; ; {
		line, err := lines.ReadSlice('\n')
		if bytes.HasPrefix(line, []byte("data:")) {
			if events == 0 {
				c.firstEvents = append(c.firstEvents, time.Since(began))
			}
			events++
			c.events++
			done = done || bytes.Contains(line, []byte("[DONE]")) || bytes.Contains(line, []byte(`"message_stop"`))
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if !done {
		return errors.New("a stream ended without its last words")
	}
	c.wholeStreams++
	return nil
}
