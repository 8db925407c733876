//go:build unix && !linux

package servers

import "os"

// folder makes a new folder for a server's files. done lets go of it, before it is removed.
func folder() (dir string, done func(), err error) {
	dir, err = os.MkdirTemp("", "latchkey-servers-")
	return dir, func() {}, err
}
