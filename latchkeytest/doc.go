// Package latchkeytest helps programs that use Latchkey to test themselves: a
// clock to turn by hand, a Manager over a store in memory, and requests that are
// signed in. Nothing of it waits: time passes when the test says so.
package latchkeytest
