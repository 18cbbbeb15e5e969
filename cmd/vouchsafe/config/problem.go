package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with the file.
type Problem struct {
	Line    int    // from 1
	Key     string // such as sites[0].tokens.issuer; "" when it concerns the file
	Message string // what is wrong and what would be right; no secret, and nothing that stands where one was expected
}

// Error is everything that is wrong with the file, by line.
type Error struct {
	File     string
	Problems []Problem // at least one
}

// Error returns one line for each problem: file:line: key: message.
func (e *Error) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(at(e.File, p.Line, p.Key, p.Message))
	}
	return b.String()
}

func at(file string, line int, key, message string) string {
	if key == "" {
		return fmt.Sprintf("%s:%d: %s", file, line, message)
	}
	return fmt.Sprintf("%s:%d: %s: %s", file, line, key, message)
}

// newError sorts the problems by line, keeping the order of those on one line.
func newError(file string, problems []Problem) *Error {
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return &Error{File: file, Problems: problems}
}

// nearest returns the name that s was probably meant to be, "" when none is
// close: at most two edits away, and at most a third of what was written.
func nearest(s string, names []string) string {
	best, bestDistance := "", min(2, len(s)/3)+1
	for _, name := range names {
		if d := distance(s, name); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that turn a into b.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
