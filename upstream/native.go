package upstream

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// nativeLayout is FormatNative. With the configured name N there are
//
//	latchkey:upstream:{N}:e:<64 hex of SHA-256(token)>   an entry, or "0" for an ended token
//	latchkey:upstream:{N}:i                              a hash: epoch e, counter n, and for
//	                                                     each bucket of users (4 hex) the
//	                                                     counter at its last invalidation
//
// An entry is "1", the epoch (16 hex), the counter when its lookup began (16 hex), its
// user's bucket (4 hex), then nonce (12) and AES-256-GCM of the packed user after its
// stale time (8 bytes, milliseconds); the additional data is "latchkey/upstream/v1",
// N, 0 and the 37 bytes before. It counts while the epoch is the hash's and no invalidation
// of the bucket has a number above the entry's.
//
// Why so: the user is known only once the entry is read, so a plain MGET cannot bring
// the user's state along, and a pipeline cannot either. A script can, in one trip,
// and it compares with what the server holds at that moment. A number per user would
// need sweeping or expiry, and an expired or evicted one would let an old fill pass;
// one hash of fixed size needs neither, and if it goes the epoch goes with it, which voids
// everything. Two users in one bucket cost each other an upstream call now and then.
type nativeLayout struct {
	doer
	name     string
	entries  string // prefix of the entries' keys
	counters string // key of the hash

	reading, filling, ending *script
}

const (
	buckets     = 1 << 14
	nativeHead  = 1 + 16 + 16 + 4
	nonceBytes  = 12
	staleBytes  = 8
	maxNative   = nativeHead + nonceBytes + staleBytes + maxPacked + 16
	endedMark   = "0"
	sealPurpose = "latchkey/upstream/v1"
)

func newNativeLayout(d doer, name string) *nativeLayout {
	prefix := "latchkey:upstream:{" + name + "}:" // the braces keep both kinds in one slot
	return &nativeLayout{doer: d, name: name, entries: prefix + "e:", counters: prefix + "i",
		reading: newScript(nativeRead), filling: newScript(nativeFill), ending: newScript(nativeEnd)}
}

// bucketOf is a user's place among the counted invalidations.
func bucketOf(userID string) uint16 {
	sum := sha256.Sum256([]byte(userID))
	return binary.BigEndian.Uint16(sum[:]) % buckets
}

func bucketField(userID string) string {
	return hex.EncodeToString(binary.BigEndian.AppendUint16(nil, bucketOf(userID)))
}

func (l *nativeLayout) key(digest *[32]byte) string { return l.entries + hex.EncodeToString(digest[:]) }

// Lengths are looked at and texts cut before anything is sent: a foreign value
// under one of the keys may have any size.
const nativeRead = `
local n = redis.call('STRLEN', KEYS[1])
local e = ''
if n > 0 and n <= tonumber(ARGV[2]) then e = redis.call('GET', KEYS[1]) end
local c = redis.call('HMGET', KEYS[2], 'e', 'n', string.sub(e, 34, 37))
if not c[1] then
  redis.call('HSET', KEYS[2], 'e', ARGV[1])
  c[1] = ARGV[1]
end
local t = 0
if n > 0 then t = redis.call('PTTL', KEYS[1]) end
return {n, t, string.sub(c[1], 1, 32), string.sub(c[2] or '0', 1, 32), string.sub(c[3] or '0', 1, 32), e}`

func (l *nativeLayout) read(ctx context.Context, s *subject, _ time.Time) (found, error) {
	var epoch [8]byte
	_, _ = rand.Read(epoch[:]) // never fails
	out, err := l.exec(ctx, l.reading, []string{l.key(&s.digest), l.counters}, []string{hex.EncodeToString(epoch[:]), strconv.Itoa(maxNative)})
	if err != nil {
		return found{}, err
	}
	reply, err := readReply(out, 2, 4)
	if err != nil {
		return found{}, err
	}
	n, ttl, entry := reply.numbers[0], reply.numbers[1], reply.texts[3]
	counter, bad := strconv.ParseUint(reply.texts[1], 10, 53)
	ended, bad2 := strconv.ParseUint(reply.texts[2], 10, 53)
	if bad != nil || bad2 != nil || len(reply.texts[0]) != 16 {
		return found{}, errGarbage
	}
	f := found{seen: ticket{valid: true, epoch: reply.texts[0], counter: reply.texts[1]}}
	switch {
	case n == 0:
		return f, nil
	case entry == endedMark:
		f.ended = true
		return f, nil
	case int64(len(entry)) != n || ttl <= 0:
		return f, errGarbage // too long, or without an end
	}
	// A counter below the entry's is one that was made anew or put back.
	made, ok := entryCounter(entry)
	if !ok || entry[1:17] != f.seen.epoch || made < ended || made > counter {
		if !ok {
			err = errGarbage
		}
		return f, err
	}
	stale, err := l.open(s, entry, &f.user)
	if err != nil {
		return f, err
	}
	f.known, f.stale, f.fresh = true, stale, time.Duration(ttl)*time.Millisecond-stale
	return f, nil
}

// entryCounter reads the counter in an entry's head.
func entryCounter(entry string) (uint64, bool) {
	if len(entry) < nativeHead+nonceBytes+staleBytes+16 || entry[0] != '1' {
		return 0, false
	}
	n, err := strconv.ParseUint(entry[17:33], 16, 53)
	return n, err == nil
}

// The counter must not have moved for this user since the lookup began, nor have
// been lost meanwhile, nor the token been ended.
const nativeFill = `
local c = redis.call('HMGET', KEYS[2], 'e', ARGV[3])
if c[1] ~= ARGV[1] then return {0} end
if c[2] and tonumber(c[2]) > tonumber(ARGV[2]) then return {0} end
if redis.call('GETRANGE', KEYS[1], 0, 0) == '0' then return {0} end
redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
return {1}`

func (l *nativeLayout) fill(ctx context.Context, s *subject, u *User, seen ticket, fresh, stale time.Duration) (bool, error) {
	counter, err := strconv.ParseUint(seen.counter, 10, 53)
	if err != nil {
		return false, errGarbage
	}
	bucket := bucketField(u.ID)
	entry, err := l.seal(s, seen.epoch, counter, bucket, u, stale)
	if err != nil {
		return false, err
	}
	args := []string{seen.epoch, seen.counter, bucket, entry, strconv.FormatInt((fresh + stale).Milliseconds(), 10)}
	out, err := l.exec(ctx, l.filling, []string{l.key(&s.digest), l.counters}, args)
	return stored(out, err)
}

// stored reads the answer of a fill.
func stored(out []rueidis.RedisMessage, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	reply, err := readReply(out, 1, 0)
	return err == nil && reply.numbers[0] == 1, err
}

// vouches says no: read has seen all there is.
func (l *nativeLayout) vouches(context.Context, *subject, *User) (bool, error) { return false, nil }

func (l *nativeLayout) drop(ctx context.Context, digest *[32]byte) error {
	return l.do(ctx, "DEL", l.key(digest))
}

// repair takes the counters too: they may be what is damaged, and are made anew.
func (l *nativeLayout) repair(ctx context.Context, digest *[32]byte) error {
	return l.do(ctx, "DEL", l.key(digest), l.counters)
}

func (l *nativeLayout) endToken(ctx context.Context, digest *[32]byte, keep time.Duration) error {
	err := l.do(ctx, "SET", l.key(digest), endedMark, "PX", strconv.FormatInt(keep.Milliseconds(), 10))
	if _, replied := rueidis.IsRedisErr(err); replied {
		return l.drop(ctx, digest) // a full Redis takes no mark and no entry, but it deletes
	}
	return err
}

const nativeEnd = `
redis.call('HSETNX', KEYS[1], 'e', ARGV[1])
redis.call('HSET', KEYS[1], ARGV[2], redis.call('HINCRBY', KEYS[1], 'n', 1))
return {1}`

func (l *nativeLayout) endUser(ctx context.Context, id string, _ time.Time) error {
	var epoch [8]byte
	_, _ = rand.Read(epoch[:]) // never fails
	_, err := l.exec(ctx, l.ending, []string{l.counters}, []string{hex.EncodeToString(epoch[:]), bucketField(id)})
	if _, replied := rueidis.IsRedisErr(err); replied || errors.Is(err, errGarbage) {
		// A full Redis, or a foreign value in the hash's place: without it nothing counts.
		return l.do(ctx, "DEL", l.counters)
	}
	return err
}

// aead is the sealing of a token's entries.
func (l *nativeLayout) aead(token string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(token), nil, sealPurpose, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (l *nativeLayout) additional(head string) []byte {
	return append(append(append([]byte(sealPurpose), l.name...), 0), head...)
}

func (l *nativeLayout) seal(s *subject, epoch string, counter uint64, bucket string, u *User, stale time.Duration) (string, error) {
	aead, err := l.aead(s.token)
	if err != nil {
		return "", err
	}
	head := "1" + epoch + hex.EncodeToString(binary.BigEndian.AppendUint64(nil, counter)) + bucket
	plain := appendUser(binary.BigEndian.AppendUint64(nil, uint64(stale.Milliseconds())), u)
	return string(aead.Seal([]byte(head), nil, plain, l.additional(head))), nil // the nonce comes first
}

// open opens an entry of at least the head's length. That the head's bucket is the
// user's needs no look: only who has the token could seal another.
func (l *nativeLayout) open(s *subject, entry string, u *User) (stale time.Duration, err error) {
	aead, err := l.aead(s.token)
	if err != nil {
		return 0, err
	}
	head, rest := entry[:nativeHead], []byte(entry[nativeHead:])
	plain, err := aead.Open(nil, nil, rest, l.additional(head))
	if err != nil || len(plain) < staleBytes {
		return 0, errGarbage
	}
	ms := binary.BigEndian.Uint64(plain)
	if ms > uint64(maxTTL.Milliseconds()) || decodeUser(plain[staleBytes:], u) != nil {
		return 0, errGarbage
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// reply is a script's answer: some numbers, then some texts.
type reply struct {
	numbers [4]int64
	texts   [4]string
}

func readReply(out []rueidis.RedisMessage, numbers, texts int) (r reply, err error) {
	if len(out) != numbers+texts {
		return r, errGarbage
	}
	for i := range numbers {
		if r.numbers[i], err = out[i].AsInt64(); err != nil || !out[i].IsInt64() {
			return r, errGarbage
		}
	}
	for i := range texts {
		m := &out[numbers+i]
		if !m.IsString() {
			return r, errGarbage
		}
		if r.texts[i], err = m.ToString(); err != nil {
			return r, errGarbage
		}
	}
	return r, nil
}
