// Package cb reads and writes the cookie and the rows of cb_session, admin sessions
// kept in an SQL table. [Codec] has the values, [Service] the table, in SQLite,
// PostgreSQL and MariaDB.
//
// The cookie is an itsdangerous token (SHA-1, django-concat, salt "session") of the
// JSON string of a random value; the row holds the hex SHA-256 of that value and
// times as ISO 8601 text. A session holds only if both agree: the token is no older
// than the configured days, and the row is there, not revoked and not expired.
//
// Where the original raises (a payload that is no string, or no JSON at all) the
// session is merely not valid here. Secrets can be rotated. [FormatTime] always
// writes UTC, and [Codec.Check] refuses a row whose times it cannot read.
package cb
