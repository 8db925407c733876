// Package sessionmanager keeps the encrypted sessions of apicrud's SessionManager in
// the Redis that Python programs keep them in, so that both read and change each
// other's: same keys, same values ([apicrud.Cipher]), same time to live.
//
// What is done differently: an update is one compare-and-set, which keeps the time to
// live, neither loses another's update nor revives a session that ended meanwhile; a
// session has to be the user's that it is asked for; a deletion needs the whole token
// and not its last three characters; a session that exists already is told apart from
// a Redis that is away; tokens have 138 random bits unless they are given; a Redis
// that answers nonsense is an error and not a panic. docs/compat/apicrud.md has the
// list, and what the format itself does not allow to mend.
package sessionmanager
