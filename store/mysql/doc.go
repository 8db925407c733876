// Package mysql keeps sessions in a database of a MariaDB or MySQL server.
package mysql
