// Package py re-makes the few things of Python's standard library whose exact
// behaviour other systems' formats rest on: the lenient base64 reader, ISO 8601
// times in text, float().
package py
