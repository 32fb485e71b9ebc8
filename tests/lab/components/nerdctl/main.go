// A stand-in for nerdctl, whose modules the lab cannot get. It only says that it is one.
package main

import (
	"fmt"
	"os"
)

const version = "2.1.6"

func main() {
	for _, arg := range os.Args[1:] {
		if arg == "--version" || arg == "-v" || arg == "version" {
			fmt.Printf("nerdctl version %s (lab stand-in: not the real nerdctl)\n", version)
			return
		}
	}
	fmt.Fprintln(os.Stderr, "nerdctl: lab stand-in, it can do nothing but --version; use ctr -n k8s.io or crictl here")
	os.Exit(1)
}
