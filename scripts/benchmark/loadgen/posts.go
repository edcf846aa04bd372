package main

import (
	"bufio"
	"flag"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// posts connects many clients, then lets all of them send one large body at the same moment.
func posts(args []string) error {
	flags := flag.NewFlagSet("posts", flag.ExitOnError)
	url := flags.String("url", "http://127.0.0.1:9000/v1/chat/completions", "where to post")
	clients := flags.Int("clients", 1500, "how many, each with a connection of its own")
	size := flags.Int("bytes", 150_000, "of each body")
	limit := flags.Duration("limit", 60*time.Second, "for all of it")
	var extra headers
	flags.Var(&extra, "header", "Name: value, repeated")
	flags.Parse(args)

	const before, after = `{"model":"gpt-4o-mini","messages":[{"role":"user","content":"`, `"}]}`
	body := before + strings.Repeat("x", max(*size-len(before)-len(after), 0)) + after
	host, request, err := chatRequest(*url, extra, body)
	if err != nil {
		return err
	}
	until := time.Now().Add(*limit)
	answers := map[string]int{}
	firstFailure := ""
	var lock sync.Mutex
	var connected, waiting sync.WaitGroup
	start := make(chan struct{})
	for i := 0; i < *clients; i++ {
		connected.Add(1)
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			conn, err := net.DialTimeout("tcp", host, 30*time.Second)
			connected.Done()
			<-start
			status := 0
			if err == nil {
				defer conn.Close()
				conn.SetDeadline(until)
				status, err = post(conn, request)
			}
			lock.Lock()
			defer lock.Unlock()
			if err == nil {
				answers[strconv.Itoa(status)]++
				return
			}
			answers["failed"]++
			if firstFailure == "" {
				firstFailure = err.Error()
			}
		}()
	}
	connected.Wait()
	began := time.Now()
	close(start)
	waiting.Wait()
	return say(map[string]any{"answers": answers, "first_failure": firstFailure, "seconds": time.Since(began).Seconds()})
}

// post sends and reads at the same time: a target may answer before it has read the body, and close.
func post(conn net.Conn, request []byte) (int, error) {
	go conn.Write(request)
	reader := bufio.NewReader(conn)
	for {
		h, err := readHead(reader)
		if err != nil {
			return 0, err
		}
		if h.status() == 100 {
			continue
		}
		_, err = io.Copy(io.Discard, h.body(reader, true))
		return h.status(), err
	}
}
