// Command latchkey is the session daemon and its command line in one binary.
//
// `latchkey serve` answers the HTTP API, the browser routes and, with --demo, a
// sign-in page to try; the other commands look at and change the same store
// while it runs. `latchkey help` lists them.
//
// # What it prints
//
// Data goes to standard output and nothing else does, so that a pipe sees only
// data. Messages go to standard error, one line each: the prefix "latchkey: ",
// lower case, no full stop. What to do about it follows as a hint on a line of
// its own. With --json, data is JSON in the shapes of the HTTP API. Nothing
// printed holds a secret, but for the token that `session issue` is asked for.
//
// # Exit status
//
// 0 done; 1 failed; 2 bad usage or configuration, with every problem listed at
// once; 3 no such session; 4 the store gave no answer.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.LookupEnv))
}
