package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// clockTick is the unit of times in /proc/PID/stat, which Linux has at 1/100 s for programs
// whatever its own.
const clockTick = 10 * time.Millisecond

// cpu is how much time a process has had of all cores together.
func cpu(pid int) (time.Duration, error) {
	fields, err := processStat(pid)
	if err != nil {
		return 0, err
	}
	return ticks(fields[11:13]), nil
}

// spending is how much time of all cores the processes had.
type spending struct{ agent, postgres, simulators time.Duration }

// spent is the time until now. PostgreSQL's is that of its processes that there are, and of those
// that have ended.
func (r *rig) spent() (s spending, err error) {
	if s.agent, err = cpu(r.agent.PID()); err != nil {
		return s, err
	}
	var self syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		return s, err
	}
	s.simulators = time.Duration(self.Utime.Nano() + self.Stime.Nano())
	err = r.bench.ask(r.ctx, func(conn *pgx.Conn) error {
		var backend int
		if err := conn.QueryRow(r.ctx, "SELECT pg_backend_pid()").Scan(&backend); err != nil {
			return err
		}
		fields, err := processStat(backend)
		if err != nil {
			return err
		}
		server, err := strconv.Atoi(fields[1])
		if err != nil {
			return err
		}
		s.postgres, err = cpuOfFamily(server)
		return err
	})
	return s, err
}

// cpuOfFamily is the time of a process and of all that it started.
func cpuOfFamily(pid int) (all time.Duration, err error) {
	fields, err := processStat(pid)
	if err != nil {
		return 0, err
	}
	all = ticks(fields[11:15])
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if fields, err := processStat(child); err == nil && fields[1] == strconv.Itoa(pid) { // it may have ended meanwhile
			all += ticks(fields[11:13])
		}
	}
	return all, err
}

// processStat are the fields of /proc/PID/stat from the third on: state, parent, …
func processStat(pid int) ([]string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])), nil // the name before may hold spaces
}

// ticks adds up times of /proc/PID/stat.
func ticks(fields []string) (all time.Duration) {
	for _, field := range fields {
		n, _ := strconv.Atoi(field) // they are numbers, says proc(5)
		all += time.Duration(n) * clockTick
	}
	return all
}

// residentMemory is how much of a process is in memory, in bytes.
func residentMemory(pid int) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, found := strings.CutPrefix(line, "VmRSS:"); found {
			kilobytes, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no resident memory", pid)
}
