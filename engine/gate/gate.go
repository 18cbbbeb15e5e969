// Package gate takes every intended action through pin, decide, record,
// resolve, mint, act and release. It alone can make a Permit.
package gate
