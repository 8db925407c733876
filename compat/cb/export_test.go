package cb

// DecodeRow is decode, for the fuzzer.
var DecodeRow = decode
