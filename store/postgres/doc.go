// Package postgres keeps sessions in PostgreSQL.
package postgres
