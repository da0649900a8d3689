package main

// exceptions are the places that handle an error and that no test takes, each with
// the reason.
var exceptions = map[string]string{}
