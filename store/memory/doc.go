// Package memory keeps sessions in this process: for tests, demos and programs
// whose users may be signed out by a restart. It is one of the stores that
// package storetest proves alike, so that what works over it works over a
// durable one.
//
// # What it costs
//
// Everything is held in maps behind one lock, with indexes by identity, by
// subject and by a provider's own session, and in a list ordered by creation.
// Records are copied on their way in and out: about a microsecond each.
// Counting walks all rows.
//
// # What bounds it
//
// Nothing is removed by itself: rows that have ended stay until Purge removes
// them, so run it on a timer. The audit trail is bounded by Config.MaxAudit and
// forgets its oldest events first. Marks that a revocation leaves against
// sign-ins under way go after latchkey.RevocationMark. What is listed as changed
// goes by itself once its absolute limit has passed, and what was used once when
// it may be used again.
//
// # Time
//
// The store's time is the wall clock as it was when the store was made plus the
// monotonic time since. Setting the machine's clock forth or back therefore
// changes no session. On a machine that was suspended the store's time is
// behind by as long, since its monotonic clock stood still.
package memory
