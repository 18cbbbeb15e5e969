// Package policy puts questions to Rego policies with embedded OPA and takes no
// answer for yes unless it is exactly one well-formed yes.
//
// A policy is a folder: authz and release with their tests beside them,
// data.yaml, and a JSON Schema of the input under schema. Compile turns one
// into a Set, whole or not at all; an Engine holds the Set in force. Whatever
// is undefined, fails, runs out of time or has another shape than the contract's
// is an error, and an error means deny.
package policy
