package agent

import (
	"os"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logFileMode keeps what the log tells of requests from other users of the machine.
const logFileMode = 0o640

// NewLogger makes the logger that the configuration asks for. Nothing is sampled away, and no stack
// is printed: a line says what was tried, on what, and why it failed. What is wrong comes back as
// Problems; a log file that cannot be written is.
func NewLogger(c LogConfig) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(c.Severity)
	if err != nil {
		return nil, Problems{{Variable: "LOG_SEVERITY", Problem: err.Error(), Example: "info"}}
	}
	output, err := openLog(c.Output)
	if err != nil {
		return nil, Problems{{Variable: "LOG_OUTPUT", Problem: "cannot be written: " + err.Error(), Example: "stderr"}}
	}
	core := zapcore.NewCore(logEncoder(c.Format), zapcore.Lock(output), level)
	return zap.New(core, zap.ErrorOutput(zapcore.Lock(os.Stderr))), nil
}

// openLog opens the log for appending. It is never closed: the last line is written as the process
// ends.
func openLog(output string) (*os.File, error) {
	switch output {
	case "stderr":
		return os.Stderr, nil
	case "stdout":
		return os.Stdout, nil
	}
	return os.OpenFile(output, os.O_APPEND|os.O_CREATE|os.O_WRONLY, logFileMode)
}

func logEncoder(format string) zapcore.Encoder {
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = zapcore.ISO8601TimeEncoder
	c.EncodeDuration = zapcore.StringDurationEncoder
	if format == "console" {
		c.EncodeLevel = zapcore.CapitalLevelEncoder
		return zapcore.NewConsoleEncoder(c)
	}
	return zapcore.NewJSONEncoder(c)
}
