// Package pyjson reads and writes JSON as Python's json module does, byte for byte.
//
// Signed and encrypted values of Python programs hold JSON text; whoever wants to
// write the same bytes needs the same separators, escapes, number text and order
// of members. encoding/json differs in all four: it sorts maps, escapes < > & and
// U+2028, and turns large integers into float64.
//
// Values are nil, bool, string, json.Number (the text of a number, kept as it was
// written), []any and [Object], whose members keep their order. [Append] takes Go's
// own integers, floats, *big.Int, maps and structs besides.
//
// Three things that Python does are refused here: NaN and the infinities, which are
// no JSON; escapes of half a surrogate pair, which no UTF-8 text can hold; and text
// that is not UTF-8. Nesting is limited to [MaxDepth] and integers to
// [MaxIntegerDigits], where Python stops as well.
package pyjson
