// Command vouchsafe decides whether a website's chat assistant may act for the
// person it is talking to.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/output"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole command. It returns 0 when what was asked holds, 1 when it
// does not, and 2 when it could not be asked.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	c := &cli{in: in, out: out, err: errs}
	root := c.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	p, formatErr := c.printer()
	if formatErr != nil {
		p = output.New(out, errs, output.Pretty)
	}
	p.Error(err)
	return output.CodeOf(err)
}

// cli is what every command shares.
type cli struct {
	in       io.Reader
	out, err io.Writer

	config string // --config
	format string // --format
}

func (c *cli) printer() (*output.Printer, error) {
	f, err := output.ParseFormat(c.format)
	if err != nil {
		return nil, output.Cannot(err)
	}
	return output.New(c.out, c.err, f), nil
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "vouchsafe",
		Short:         "The gate between a website's chat assistant and its customers' data",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return output.WithHint(err, "see "+cmd.CommandPath()+" --help")
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().StringVar(&c.config, "config", "", "the configuration `FILE`; without it, the demo")
	root.PersistentFlags().StringVar(&c.format, "format", "pretty", "how results are printed: pretty or json")
	root.AddCommand(c.serveCommand(), c.shopCommand())
	root.AddCommand(c.commands()...)
	return root
}

// version is the module's version, as the Go command stamped it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
