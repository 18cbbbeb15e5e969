package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// The fixed places in a policy folder.
const (
	dataFile        = "data.yaml"
	schemaFolder    = "schema"
	inputSchemaFile = schemaFolder + "/input.json"
	dataSchemaFile  = schemaFolder + "/data.json"
	testSuffix      = "_test.rego"
)

// source is a policy folder, read and parsed but not yet compiled.
type source struct {
	text     map[string][]byte      // every file that counts
	modules  map[string]*ast.Module // without the tests
	tests    map[string]*ast.Module
	data     map[string]any // JSON values; numbers as json.Number
	schemas  *ast.SchemaSet
	revision string
}

func parserOptions() ast.ParserOptions {
	return ast.ParserOptions{ProcessAnnotation: true, RegoVersion: ast.RegoV1, Capabilities: capabilities()}
}

// read reads a policy folder. The source is whole only when there is no
// problem.
func read(fsys fs.FS) (*source, Problems) {
	src := &source{
		text:    map[string][]byte{},
		modules: map[string]*ast.Module{},
		tests:   map[string]*ast.Module{},
		data:    map[string]any{},
		schemas: ast.NewSchemaSet(),
	}
	var problems Problems
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name != "." && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		problems = append(problems, src.readFile(fsys, name)...)
		return nil
	})
	if err != nil {
		return nil, append(problems, Problem{Code: ProblemUnreadable, Message: fmt.Sprintf("reading the policy folder: %v", err)})
	}
	problems = append(problems, src.readSchemas()...)
	if text, ok := src.text[dataFile]; ok {
		problems = append(problems, src.readData(text)...)
	}
	if len(src.modules) == 0 && len(problems) == 0 {
		problems = append(problems, Problem{Code: ProblemUnreadable, Message: "there is no policy here: not one .rego file",
			Hint: "name the folder that holds authz and release"})
	}
	src.revision = src.hash()
	return src, problems
}

// readFile takes in one file of the folder, by its name.
func (src *source) readFile(fsys fs.FS, name string) Problems {
	isRego := path.Ext(name) == ".rego"
	isJSON := path.Dir(name) == schemaFolder && path.Ext(name) == ".json"
	switch {
	case isRego, isJSON, name == dataFile:
	case slices.Contains([]string{".json", ".yaml", ".yml"}, path.Ext(name)):
		return Problems{{File: name, Code: ProblemUnexpected, Message: "nothing reads this file",
			Hint: "settings stand in data.yaml at the top of the folder, schemas in schema/*.json"}}
	default:
		return nil
	}
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return Problems{{File: name, Code: ProblemUnreadable, Message: fmt.Sprintf("reading the file: %v", err)}}
	}
	src.text[name] = text
	if !isRego {
		return nil
	}
	m, err := ast.ParseModuleWithOpts(name, string(text), parserOptions())
	if err != nil {
		return fromOPA(name, err)
	}
	if m == nil {
		return Problems{{File: name, Code: ProblemParse, Message: "the file is empty"}}
	}
	if strings.HasSuffix(name, testSuffix) {
		src.tests[name] = m
	} else {
		src.modules[name] = m
	}
	return nil
}

// readSchemas makes schema/input.json the type of `input` everywhere, and each
// other schema nameable in METADATA.
func (src *source) readSchemas() Problems {
	if _, ok := src.text[inputSchemaFile]; !ok {
		return Problems{{File: inputSchemaFile, Code: ProblemSchema, Message: "the schema of input is missing",
			Hint: "copy it from the default policy: without it a misspelt input field is silently undefined"}}
	}
	var problems Problems
	for name, text := range src.text {
		if path.Dir(name) != schemaFolder {
			continue
		}
		var schema any
		if err := json.Unmarshal(text, &schema); err != nil {
			problems = append(problems, Problem{File: name, Code: ProblemSchema, Message: fmt.Sprintf("not JSON: %v", err)})
			continue
		}
		if name == inputSchemaFile {
			src.schemas.Put(ast.SchemaRootRef, schema)
		}
		ref := ast.SchemaRootRef.Append(ast.StringTerm(strings.TrimSuffix(path.Base(name), ".json")))
		src.schemas.Put(ref, schema)
	}
	return problems
}

// readData reads data.yaml strictly and holds it to its schema.
func (src *source) readData(text []byte) Problems {
	fail := func(line, column int, code, message, hint string) Problems {
		return Problems{{File: dataFile, Line: line, Column: column, Code: code, Message: message, Hint: hint}}
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, trailer yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return fail(0, 0, ProblemData, err.Error(), "")
	}
	if err := dec.Decode(&trailer); !errors.Is(err, io.EOF) {
		return fail(0, 0, ProblemData, "a second document follows the first", "keep one document")
	}
	v, bad := plain(doc.Content[0])
	if bad != nil {
		return Problems{*bad}
	}
	data, ok := v.(map[string]any)
	if !ok {
		return fail(1, 1, ProblemData, "the top level is not a mapping", "")
	}
	src.data = data
	if _, wrong := waivedTiers(data); wrong != "" {
		node := find(doc.Content[0], []string{waiveKey})
		return fail(node.Line, node.Column, ProblemData, wrong, "a waiver looks like this: waive: {tier: [my-site]}")
	}
	schemaText, ok := src.text[dataSchemaFile]
	if !ok {
		return nil
	}
	schema, err := compileSchema(dataSchemaFile, schemaText)
	if err != nil {
		return Problems{{File: dataSchemaFile, Code: ProblemSchema, Message: err.Error()}}
	}
	var invalid *jsonschema.ValidationError
	if err := schema.Validate(data); errors.As(err, &invalid) {
		var problems Problems
		for _, leaf := range leaves(invalid) {
			node := find(doc.Content[0], leaf.InstanceLocation)
			where := "the top level"
			if len(leaf.InstanceLocation) > 0 {
				where = strings.Join(leaf.InstanceLocation, ".")
			}
			problems = append(problems, fail(node.Line, node.Column, ProblemData,
				fmt.Sprintf("%s: %s", where, leaf.ErrorKind.LocalizedString(printer)), "schema/data.json says what may stand here")...)
		}
		return problems
	} else if err != nil {
		return fail(0, 0, ProblemData, err.Error(), "")
	}
	return nil
}

// Revision names a policy folder as the Set that is made of it would be named,
// whether or not one can be made. It is "" when the folder cannot be read.
func Revision(fsys fs.FS) string {
	src, _ := read(fsys)
	if src == nil {
		return ""
	}
	return src.revision
}

// Data reads the settings of a policy folder. The error is Problems.
func Data(fsys fs.FS) (map[string]any, error) {
	src := &source{text: map[string][]byte{}, data: map[string]any{}}
	for _, name := range []string{dataFile, dataSchemaFile} {
		text, err := fs.ReadFile(fsys, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, Problems{{File: name, Code: ProblemUnreadable, Message: fmt.Sprintf("reading the file: %v", err)}}
		}
		src.text[name] = text
	}
	text, ok := src.text[dataFile]
	if !ok {
		return src.data, nil
	}
	if problems := src.readData(text); len(problems) > 0 {
		return nil, problems.sorted()
	}
	return src.data, nil
}

// hash names the policy by its content: its Rego without tests, and its data.
// Schemas and tests change no decision, nor does how the data is written: a
// bundle carries it as JSON.
func (src *source) hash() string {
	text := map[string][]byte{}
	for name, b := range src.text {
		if path.Dir(name) != schemaFolder && !strings.HasSuffix(name, testSuffix) {
			text[name] = b
		}
	}
	if data, err := json.Marshal(src.data); err == nil && len(src.data) > 0 {
		text[dataFile] = data
	}
	sum := digest(text)
	return hex.EncodeToString(sum[:8])
}

// whole names everything that was read, tests and schemas too.
func (src *source) whole() [sha256.Size]byte { return digest(src.text) }

func digest(text map[string][]byte) [sha256.Size]byte {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(text)) {
		for _, part := range [][]byte{[]byte(name), text[name]} {
			var size [8]byte
			binary.BigEndian.PutUint64(size[:], uint64(len(part)))
			h.Write(size[:])
			h.Write(part)
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}
