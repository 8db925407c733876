// Package sessioncache reads and writes the Redis entries of SessionCacheService, a
// cache of sessions that Appwrite owns, so that Python and Go processes can share it.
//
// An entry is a JSON object under a hash of the session's token; a marker per user
// holds the time before which entries of that user do not count. This package has
// keys, texts and decisions, no connection.
//
// [Entry.Decide] is stricter than the original where that would serve a session it
// should not: an entry as old as the marker is a miss, and so is one that expires now
// or whose marker cannot be read. [TTL] writes nothing for a session that is over.
package sessioncache
