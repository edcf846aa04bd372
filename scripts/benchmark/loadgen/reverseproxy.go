package main

import (
	"flag"
	"net/http"
	"net/http/httputil"
	"net/url"
)

// reverseProxy is the yardstick: what a Go programmer writes in ten lines. It checks no key, routes nothing and counts
// nothing. Two settings differ from the defaults, for it would be slower with them: the default transport keeps two idle
// connections to a host, and without FlushInterval a stream waits in a buffer. A third keeps it correct: without full
// duplex the server closes the request's body at the first byte of the reply, and where the transport has not yet read its
// end, which happens with an upstream as quick as the stub, the stream breaks off.
func reverseProxy(args []string) error {
	flags := flag.NewFlagSet("reverse-proxy", flag.ExitOnError)
	address := flags.String("address", "127.0.0.1:9001", "where to listen")
	to := flags.String("to", "http://127.0.0.1:9000", "the upstream")
	flags.Parse(args)

	upstream, err := url.Parse(*to)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		FlushInterval: -1,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	}
	return http.ListenAndServe(*address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		proxy.ServeHTTP(w, r)
	}))
}
