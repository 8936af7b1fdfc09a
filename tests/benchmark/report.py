#!/usr/bin/env python3
"""report.py <results folder> [--publish <docs folder>]

Reads what the benchmarks printed (*.jsonl), prints the table, writes results.json and the plots into the
results folder; with --publish the plots and the generated parts of performance.md into the docs folder.
"""

import datetime
import json
import math
import os
import pathlib
import re
import subprocess
import sys

AT_MOST, AT_LEAST = "at most", "at least"
# figure: title, goal (none: for information)
FIGURES = {
    "uncontended": ("lock+unlock, over raw SET+EVALSHA", AT_MOST, 1.05),
    "uncontended_same_commands": ("the same, over raw SET,PTTL+EVALSHA", None, None),
    "deferred": ("lock+unlock with deferred_unlock, over raw SET+EVALSHA", AT_MOST, 0.65),
    "deferred_raw": ("raw SET+EVALSHA whose answer is read later, over raw SET+EVALSHA", None, None),
    "deferred_spaced": ("deferred_unlock as above, with 100 µs between the uses", None, None),
    "stats": ("lock+unlock, over the same without the counting for Client::stats()", AT_MOST, 1.01),
    "borrowed": ("lock+unlock over a borrowed context, over raw SET+EVALSHA", None, None),
    "try_lock_busy": ("try_lock of a held lock, over raw SET", None, None),
    "extend": ("extend, over raw EVALSHA", None, None),
    "handoff_over_wake_up": ("hand-off, over LPUSH→BLPOP", AT_MOST, 1.6),
    "handoff_over_raw": ("hand-off, over raw BLPOP,SET,PTTL+EVALSHA", AT_MOST, 1.1),
    "p99_wait": ("8 threads: 99th percentile of the waits, over 7 × (section + hand-off)", AT_MOST, 1.3),
    "p99_wait_deferred": ("the same with deferred_unlock", AT_MOST, 1.3),
    "p99_wait_raw": ("the same of raw BLPOP,SET,PTTL+EVALSHA", None, None),
    "first_to_finish": ("8 threads: first to finish, over total time", AT_LEAST, 0.9),
    "deadline_late_median_ms": ("try_lock_for() of a held lock, idle server: median of the lateness, ms", None, None),
    "deadline_late_p99_ms": ("the same: 99th percentile", AT_MOST, 10),
    "crash_late_median_ms": ("acquired after the lease of a crashed holder: median of the lateness, ms", None, None),
    "crash_late_p99_ms": ("the same: 99th percentile", AT_MOST, 15),
    "commands": ("server commands for each contended acquisition", AT_MOST, 13),
    "commands_growth": ("the same, most over least", AT_MOST, 1.05),
    "idle_wake_ups": ("wake-ups of an idle waiter for each slice", AT_MOST, 1),
    "local_64_over_0": ("8 threads, one Lock: local_handoffs=64 over 0", AT_LEAST, 20),
    "local_4096_over_mutex": ("8 threads, one Lock: local_handoffs=4096 over std::timed_mutex", AT_LEAST, 0.3),
    "renewal_cpu_percent": ("10,000 locks under renewal: % of a core, client", AT_MOST, 2),
    "renewal_threads": ("the same: threads", AT_MOST, 1),
    "renewal_connections": ("the same: connections", AT_MOST, 2),
    "failover_ms": ("a failover of the fleet itself, ms", None, None),
    "failover_gap_ms": ("from a new master to the next acquisition, ms", AT_MOST, 1500),
    "failover_gap_of_waiter_ms": ("the same for who waited in lock() before, ms", None, None),
    "quorum_3_over_lock": ("QuorumLock, lock+unlock on 3 local servers, over Lock on one", AT_MOST, 1.6),
    "quorum_5_over_lock": ("the same on 5", AT_MOST, 2.2),
    "quorum_raw_3_over_lock": ("raw SET+EVALSHA to 3 at once, the answers of 2 awaited, over Lock on one", None, None),
    "quorum_raw_5_over_lock": ("the same to 5, of 3", None, None),
    "quorum_3_over_raw": ("QuorumLock on 3, over raw on 3", None, None),
    "quorum_5_over_raw": ("QuorumLock on 5, over raw on 5", None, None),
    "quorum_one_frozen": ("QuorumLock on 5, one of them frozen, over none frozen", AT_MOST, 1.3),
    "quorum_median_wait": ("QuorumLock on 5, 8 threads: median of the waits, over 7 × section", None, None),
    "quorum_p99_wait": ("the same: 99th percentile", None, None),
    "compile_time": ("#include <redis_lock/lock.hpp>, over its std and hiredis headers", AT_MOST, 1.5),
    "instructions_over_ceiling": ("client instructions for one lock+unlock, over the ceiling", AT_MOST, 1),
}


def quantile(samples, q):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def load(folder):
    """{(figure, case): samples} of all programs, and what is computed from them."""
    results = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            results.setdefault((entry["figure"], entry["case"]), []).extend(entry["samples"])
    totals = [quantile(samples, 0.5) for (figure, _), samples in results.items() if figure == "commands"]
    if totals:
        results["commands_growth", "2 to 1000 waiters"] = [max(totals) / min(totals)]
    if ("instructions", "library") in results:
        ceiling_file = pathlib.Path(__file__).with_name("instruction_ceiling.txt").read_text()
        ceiling = float(next(line for line in ceiling_file.splitlines() if not line.startswith("#")))
        count = results["instructions", "library"][0]
        results["instructions_over_ceiling", "unix"] = [count / ceiling]
    return results


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def rows(results):
    """One for each figure and case, in the order of FIGURES."""
    for figure, (title, bound, goal) in FIGURES.items():
        for (name, case), samples in results.items():
            if name != figure:
                continue
            row = {"figure": figure, "title": title, "case": case, "samples": len(samples)}
            row.update(median=quantile(samples, 0.5), q1=quantile(samples, 0.25), q3=quantile(samples, 0.75))
            row["goal"] = f"{bound} {goal}" if bound else ""
            if bound:
                rounded = float(f"{row['median']:.3g}")
                row["bound"], row["limit"] = bound, goal
                row["reached"] = rounded <= goal if bound == AT_MOST else rounded >= goal
            yield row


def table(all_rows):
    lines = ["| figure | case | goal | median | quartiles | reached |", "| --- | --- | --- | --- | --- | --- |"]
    title = None
    for row in all_rows:
        shown = row["title"] if row["title"] != title else ""
        title = row["title"]
        spread = f"{number(row['q1'])} – {number(row['q3'])}" if row["samples"] > 1 else ""
        reached = {True: "yes", False: "**no**", None: ""}[row.get("reached")]
        lines.append(f"| {shown} | {row['case']} | {row['goal']} | {number(row['median'])} | {spread} | {reached} |")
    return lines


def padded(lines):
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    widths = [max(len(row[i]) for row in cells if row[i] != "---") for i in range(len(cells[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
            for row in cells if row[0] != "---"]


def profile_table(results):
    """Where the microseconds of one lock+unlock go."""
    kinds = ["floor", "library", "deferred"]

    def of(kind, part):
        return quantile(results.get(("profile", f"{kind}: {part}"), [math.nan]), 0.5)

    lines = ["| one lock+unlock, Unix socket | raw SET+EVALSHA | lock+unlock | with deferred_unlock |",
             "| --- | --- | --- | --- |"]
    for part, title in [("wall", "elapsed, µs"), ("client, CPU", "CPU of the client, µs"),
                        ("server, CPU", "CPU of the server, µs"),
                        ("server, in set", "— of the server, SET, µs"), ("server, in pttl", "— PTTL, µs"),
                        ("server, in evalsha", "— EVALSHA, µs"),
                        ("client, voluntary switches", "times the client went to sleep")]:
        lines.append(f"| {title} | " + " | ".join(f"{of(kind, part):.2f}" for kind in kinds) + " |")
    names = sorted({case.split(": ")[1] for figure, case in results if figure == "syscalls"})
    for name in names:
        counts = [results.get(("syscalls", f"{kind}: {name}"), [0])[0] for kind in kinds]
        lines.append(f"| calls of `{name}` | " + " | ".join(f"{count:.2f}" for count in counts) + " |")
    instructions = [results.get(("instructions", kind), [math.nan])[0] for kind in kinds]
    lines.append("| instructions of the client | " + " | ".join(f"{count:.0f}" for count in instructions) + " |")
    return lines


def machine(folder):
    oldest = min(path.stat().st_mtime for path in folder.glob("*.jsonl"))

    def run(*command):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    redis = re.search(r"v=(\S+)", run("redis-server", "--version")).group(1)
    return (f"{datetime.date.fromtimestamp(oldest)}, {os.cpu_count()} cores {model.group(1) if model else ''}, "
            f"Linux {os.uname().release.split('-')[0]}, Redis {redis}, g++ {run('g++', '-dumpfullversion').strip()}; "
            f"load average at the end {os.getloadavg()[1]:.1f} (the suite itself: about 2)")


def gnuplot(target, size, *commands):
    script = [f"set terminal svg size {size} noenhanced font 'sans-serif,13' background 'white'", f"set output '{target}'",
              "set grid lc rgb '#dddddd'", "set border 3", "set tics nomirror"]
    subprocess.run(["gnuplot"], input="\n".join([*script, *commands, ""]), text=True, check=True)


def data(name, lines):
    return "\n".join([f"${name} << END", *lines, "END"])


def plot_goals(all_rows, folder):
    """Every figure in parts of its goal: left of the line is good."""
    goals = [row for row in all_rows if "limit" in row]
    lines = []
    for i, row in enumerate(goals):
        parts = [row[key] / row["limit"] if row["bound"] == AT_MOST else row["limit"] / row[key]
                 for key in ("median", "q1", "q3")]
        label = f"{row['title']} ({row['case']})"
        lines.append(f'{parts[0]:.4g} {-i} {min(parts[1:]):.4g} {max(parts[1:]):.4g} "{label}"')
    gnuplot(folder / "goals.svg", f"1100,{60 + 19 * len(goals)}", data("D", lines), "set logscale x",
            f"set yrange [{0.7 - len(goals)}:0.7]", "set xlabel 'in parts of the goal: left of 1 is reached'",
            "set arrow from 1, graph 0 to 1, graph 1 nohead lc rgb '#cc3333' lw 2", "set ytics font ',10'", "set lmargin at screen 0.55", "set xrange [0.1:5]", "set xtics (0.1, 0.2, 0.5, 1, 2, 5)",
            "plot $D using 1:2:3:4:ytic(5) with xerrorbars pt 7 ps 0.5 lc rgb '#225588' notitle")


def plot_waits(results, folder):
    blocks, curves = [], []
    for i, (section, colour) in enumerate([("100 us", "#225588"), ("2000 us", "#228855")]):
        for kind, dash, title in [("", 1, "Lock"), ("_raw", 2, "raw hiredis")]:
            samples = results.get((f"wait_quantiles{kind}", f"unix, {section}"))
            if samples:
                name = f"W{i}{kind}"
                blocks.append(data(name, [f"{value:.4g} {100 * n / len(samples)}" for n, value in enumerate(samples)]))
                curves.append(f"${name} with lines lw 2 dt {dash} lc rgb '{colour}' title '{title}, {section.replace('us', 'µs')} sections'")
    if curves:
        gnuplot(folder / "waits.svg", "700,380", *blocks, "set xrange [0.5:2]", "set key right bottom",
                "set xlabel 'wait, over 7 × (section + hand-off)'", "set ylabel '% of the waits'",
                "plot " + ", ".join(curves))


def plot_commands(results, folder):
    points = [f"{case.split()[0]} {quantile(samples, 0.5)}" for (figure, case), samples in results.items()
              if figure == "commands"]
    if points:
        gnuplot(folder / "commands.svg", "700,300", data("D", points), "set logscale x 2", "set yrange [0:15]",
                "set xlabel 'waiters'", "set ylabel 'commands / acquisition'", "set key right bottom",
                "plot 13 lc rgb '#cc3333' title 'goal', $D with linespoints pt 7 lw 2 lc rgb '#225588' title 'measured'")


def plot_shared(results, folder):
    points = []
    for count in (0, 64, 4096):
        samples = results.get((f"local_{count}_over_mutex", "unix"))
        if samples:
            points.append(f'"local_handoffs={count}" ' +
                          " ".join(f"{quantile(samples, q):.4g}" for q in (0.5, 0.25, 0.75)))
    if points:
        gnuplot(folder / "shared.svg", "860,320", data("D", points), "set logscale y", "set yrange [0.00005:4]",
                "set xrange [-0.6:2.6]", "set ylabel 'acquisitions each second'", "set format y '%g'",
                "set style fill solid 0.6", "set boxwidth 0.5",
                "plot 1 lc rgb '#888888' title 'std::timed_mutex', "
                "$D using 0:2:(0.5):xtic(1) with boxes lc rgb '#225588' notitle, "
                "$D using 0:2:3:4 with yerrorbars lc black pt 0 notitle")


def replace_block(text, name, lines):
    block = "\n".join([f"<!-- {name}: written by tests/benchmark/run.sh --publish -->", "", *lines, "", f"<!-- end of {name} -->"])
    return re.sub(rf"<!-- {name}: .*?<!-- end of {name} -->", lambda _: block, text, flags=re.DOTALL)


def main():
    folder = pathlib.Path(sys.argv[1])
    results = load(folder)
    all_rows = list(rows(results))
    print("\n".join(padded(table(all_rows))))
    print()
    print("\n".join(padded(profile_table(results))))
    raw = [{"figure": figure, "case": case, "samples": samples} for (figure, case), samples in results.items()]
    (folder / "results.json").write_text(
        json.dumps({"measured": machine(folder), "figures": all_rows, "results": raw}, indent=1, ensure_ascii=False) + "\n")

    plots = folder
    if "--publish" in sys.argv:
        docs = pathlib.Path(sys.argv[sys.argv.index("--publish") + 1])
        plots = docs / "performance"
        plots.mkdir(exist_ok=True)
        page = docs / "performance.md"
        text = page.read_text()
        text = replace_block(text, "figures", [f"Measured {machine(folder)}.", "", *table(all_rows)])
        text = replace_block(text, "profile", profile_table(results))
        page.write_text(text)
    plot_goals(all_rows, plots)
    plot_waits(results, plots)
    plot_commands(results, plots)
    plot_shared(results, plots)


main()
