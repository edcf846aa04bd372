// Loadgen is what stands on both sides of a measured gateway: a stub upstream, load, and Go's reverse proxy to
// compare with. It is not the benchmark: that is the Python package around it, which starts this, reads the
// target's processor time and memory, and makes the table. Standard library only, so that it builds without a network.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

var commands = map[string]func([]string) error{
	"stub":          stub,
	"reverse-proxy": reverseProxy,
	"load":          load,
	"posts":         posts,
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: loadgen stub|reverse-proxy|load|posts [flags]; -h after a command lists its flags")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "loadgen "+os.Args[1]+":", err)
		os.Exit(1)
	}
}

// say prints a result for the Python side: one JSON object on standard output.
func say(result any) error {
	return json.NewEncoder(os.Stdout).Encode(result)
}
