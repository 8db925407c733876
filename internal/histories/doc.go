// Package histories puts a store, its feed and the near caches of several nodes
// under load and faults at once, writes down what every caller was told and when,
// and has [porcupine] look for an order of events that explains all of it. There is
// none if an ended session was granted later than its staleness allows, if a change
// was lost or undone, if a replaced token still opened its session, or if an outage
// was told as a logout.
//
// The model is a session: absent, live under one token with a counter in its data,
// or ended for good. Each session is judged apart; what ends several at once is an
// event of each. A caller that got no answer may have had its way or not, at any
// time later. A lookup that was granted from memory may be as old as the staleness,
// so it counts as having been asked that much earlier; a refusal may not.
//
// Nodes are in this process, or processes of their own ([Processes]) that can be
// stopped and killed: the test program in another role ([Serve]). A caller of a node
// that is stopped waits for it, and its call takes as long as that. A fault that puts
// nodes out of touch lays them an ambush: sessions that they have in memory are ended
// elsewhere, and they are asked for them until it is over. In the end every node is
// asked for every session.
//
// A fault with a failover may undo changes which nobody was told had been made, though
// they can be seen before. What was acknowledged it may not.
//
// The seed of a run is printed; it decides what the callers do and how long packets
// are late, though not how the machine schedules. LATCHKEY_CHAOS_SEED sets it.
//
// [porcupine]: https://github.com/anishathalye/porcupine
package histories
