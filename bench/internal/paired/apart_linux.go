package paired

import (
	"os"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// Apart keeps this process on one processor until the benchmark ends, and the
// servers that start starts on another one, as they would be on another machine.
// Where both ends of a round trip may meet on one core, its time is that of either
// of two heaps, and chance decides on which. With a single processor, and where
// processors cannot be chosen, it only calls start.
func Apart(b *testing.B, start func()) {
	b.Helper()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil || all.Count() < 2 {
		start()
		return
	}
	var mine, theirs unix.CPUSet
	for cpu := range len(all) * 64 {
		switch {
		case !all.IsSet(cpu):
		case mine.Count() == 0:
			mine.Set(cpu)
		default:
			theirs.Set(cpu)
		}
	}
	procs := runtime.GOMAXPROCS(0)
	b.Cleanup(func() { pin(b, &all); runtime.GOMAXPROCS(procs) })
	pin(b, &theirs) // a process is given what the thread that starts it has
	start()
	runtime.GOMAXPROCS(1)
	pin(b, &mine)
}

// pin moves every thread of this process. Later ones are made by these.
func pin(b *testing.B, to *unix.CPUSet) {
	b.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		b.Fatal(err)
	}
	for _, t := range tasks {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.SchedSetaffinity(id, to); err != nil && err != unix.ESRCH {
			b.Fatal("a thread cannot be moved to another processor: ", err)
		}
	}
}
