#!/usr/bin/env python3
"""report.py <results folder> [--publish <docs folder>]
report.py --redraw <docs folder>

Reads what the benchmarks printed (*.jsonl), prints the table, writes results.json and the plots into the
results folder; with --publish the plots and the generated parts of performance.md into the docs folder.
--redraw measures nothing: it draws the plots from the table of performance.md and from performance/plots.json.
"""

import datetime
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import textwrap

AT_MOST, AT_LEAST = "at most", "at least"
# figure: title, goal (none: for information)
FIGURES = {
    "uncontended": ("lock+unlock, over raw SET+EVALSHA", AT_MOST, 1.05),
    "uncontended_same_commands": ("the same, over raw SET,PTTL+EVALSHA", None, None),
    "deferred": ("lock+unlock with deferred_unlock, over raw SET+EVALSHA", AT_MOST, 0.65),
    "uncontended_cpu": ("lock+unlock, over raw SET+EVALSHA: CPU of the client", None, None),
    "deferred_raw": ("raw SET+EVALSHA whose answer is read later, over raw SET+EVALSHA", None, None),
    "deferred_spaced": ("deferred_unlock as above, with 100 µs between the uses", None, None),
    "stats": ("lock+unlock, over the same without the counting for Client::stats()", AT_MOST, 1.01),
    "borrowed": ("lock+unlock over a borrowed context, over raw SET+EVALSHA", None, None),
    "try_lock_busy": ("try_lock of a held lock, over raw SET", None, None),
    "extend": ("extend, over raw EVALSHA", None, None),
    "guarded_set": ("guarded_set, over its raw EVAL", None, None),
    "spin_uncontended": ("lock+unlock with the default spin, over raw SET+EVALSHA", AT_MOST, 0.5),
    "spin_uncontended_cpu": ("the same: CPU of the client", AT_MOST, 1.05),
    "spin_raw": ("raw SET+EVALSHA that always polls, over raw SET+EVALSHA", None, None),
    "spin_raw_cpu": ("the same: CPU of the client", None, None),
    "spin_over_raw": ("lock+unlock with the default spin, over raw SET+EVALSHA that always polls", AT_MOST, 1.12),
    "spin_deferred": ("lock+unlock with spin and deferred_unlock, over raw SET+EVALSHA", AT_MOST, 0.4),
    "spin_try_lock_busy": ("try_lock of a held lock with spin, over raw SET", AT_MOST, 0.55),
    "spin_extend": ("extend with spin, over raw EVALSHA", AT_MOST, 0.55),
    "spin_guarded_set": ("guarded_set with spin, over its raw EVAL", AT_MOST, 0.55),
    "spin_far": ("server far away: lock+unlock with spin, over spin=0", AT_MOST, 1.02),
    "spin_far_cpu": ("the same: CPU of the client", AT_MOST, 1.05),
    "spin_threads": ("a lock for each thread: cycles a second with spin, over spin=0", AT_LEAST, 1.0),
    "spin_one_processor": ("one processor: time with spin, over spin=0", AT_MOST, 1.02),
    "spin_handoff": ("hand-off with spin, over spin=0", AT_MOST, 1.03),
    "spin_p99_wait": ("99th percentile of the waits with spin, over spin=0", AT_MOST, 1.03),
    "handoff_over_wake_up": ("hand-off, over LPUSH→BLPOP", AT_MOST, 1.6),
    "handoff_over_raw": ("hand-off, over raw BLPOP,SET,PTTL+EVALSHA", AT_MOST, 1.1),
    "p99_wait": ("8 threads: 99th percentile of the waits, over 7 × (section + hand-off)", AT_MOST, 1.3),
    "p99_wait_deferred": ("8 threads with deferred_unlock: 99th percentile of the waits, over 7 × (section + hand-off)", AT_MOST, 1.3),
    "p99_wait_raw": ("the same of raw BLPOP,SET,PTTL+EVALSHA", None, None),
    "first_to_finish": ("8 threads: first to finish, over total time", AT_LEAST, 0.9),
    "reading_over_raw": ("lock_shared+unlock_shared, over raw EVALSHA+EVALSHA of the same scripts", AT_MOST, 1.15),
    "permit_over_raw": ("acquire+release of a Semaphore, over raw EVALSHA+EVALSHA of the same scripts", AT_MOST, 1.15),
    "spin_reading_over_raw": ("lock_shared+unlock_shared with the default spin, over the same that always polls", AT_MOST, 1.15),
    "spin_permit_over_raw": ("acquire+release with the default spin, over the same that always polls", AT_MOST, 1.15),
    "entry_over_wake_ups": ("a writer leaves: until the last of k readers has entered, over k × LPUSH→BLPOP", AT_MOST, 1.0),
    "entry_in_scripts": ("the same: time of the server in their scripts, over k × LPUSH→BLPOP", None, None),
    "entry_us": ("the same, µs", None, None),
    "readers_over_lock": ("8 threads, 90 % readers, sections of 1 ms: acquisitions each second, over a Lock", AT_LEAST, 3),
    "p99_wait_of_writers": ("the same: 99th percentile of the waits of writers, over strict order", AT_MOST, 1.5),
    "permits_over_locks": ("Semaphore with 4 permits, 16 threads, 2 ms: acquisitions each second, over 4 × a Lock", AT_LEAST, 0.9),
    "p99_wait_of_permits": ("the same: 99th percentile of the waits, over strict order", AT_MOST, 1.4),
    "p99_wait_of_permits_raw": ("the same of 4 × raw BLPOP,SET,PTTL+EVALSHA", None, None),
    "deadline_late_median_ms": ("try_lock_for() of a held lock, idle server: median of the lateness, ms", None, None),
    "deadline_late_p99_ms": ("the same: 99th percentile", AT_MOST, 10),
    "crash_late_median_ms": ("acquired after the lease of a crashed holder: median of the lateness, ms", None, None),
    "crash_late_p99_ms": ("the same: 99th percentile", AT_MOST, 15),
    "commands": ("server commands for each contended acquisition", AT_MOST, 13),
    "commands_growth": ("the same, most over least", AT_MOST, 1.05),
    "commands_shared": ("server commands for each contended acquisition of a SharedLock", AT_MOST, 26),
    "commands_shared_growth": ("the same, most over least", AT_MOST, 1.05),
    "commands_permit": ("server commands for each contended acquisition of a Semaphore", AT_MOST, 26),
    "commands_permit_growth": ("the same, most over least", AT_MOST, 1.05),
    "idle_wake_ups": ("wake-ups of an idle waiter for each slice", AT_MOST, 1),
    "local_64_over_0": ("8 threads, one Lock: local_handoffs=64 over 0", AT_LEAST, 20),
    "local_4096_over_mutex": ("8 threads, one Lock: local_handoffs=4096 over std::timed_mutex", AT_LEAST, 0.3),
    "renewal_cpu_percent": ("10,000 under renewal: % of a core, client", AT_MOST, 2),
    "renewal_threads": ("the same: threads", AT_MOST, 1),
    "renewal_connections": ("the same: connections", AT_MOST, 2),
    "failover_ms": ("a failover of the fleet itself, ms", None, None),
    "failover_gap_ms": ("from a new master to the next acquisition, ms", AT_MOST, 1500),
    "failover_gap_of_waiter_ms": ("the same for who waited in lock() before, ms", None, None),
    "quorum_3_over_lock": ("QuorumLock, lock+unlock on 3 local servers, over Lock on one", AT_MOST, 1.6),
    "quorum_5_over_lock": ("QuorumLock, lock+unlock on 5 local servers, over Lock on one", AT_MOST, 2.2),
    "quorum_raw_3_over_lock": ("raw SET+EVALSHA to 3 at once, the answers of 2 awaited, over Lock on one", None, None),
    "quorum_raw_5_over_lock": ("the same to 5, of 3", None, None),
    "quorum_3_over_raw": ("QuorumLock on 3, over raw on 3", None, None),
    "quorum_5_over_raw": ("QuorumLock on 5, over raw on 5", None, None),
    "quorum_one_frozen": ("QuorumLock on 5, one of them frozen, over none frozen", AT_MOST, 1.3),
    "quorum_median_wait": ("QuorumLock on 5, 8 threads: median of the waits, over 7 × section", None, None),
    "quorum_p99_wait": ("the same: 99th percentile", None, None),
    "compile_time": ("compiling a file that locks, over its std headers", AT_MOST, 1.5),
    "compile_time_header_only": ("the same, header-only", None, None),
    "instructions_over_ceiling": ("client instructions for one lock+unlock, over the ceiling", AT_MOST, 1),
}


def quantile(samples, q):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def add_growth(results, figure, where, prefix, least_waiters=0):
    """Adds the most over the least of the medians of the cases that are called so."""
    medians = [quantile(samples, 0.5) for (name, case), samples in results.items()
               if name == figure and case.startswith(prefix) and int(case[len(prefix):].split()[0]) >= least_waiters]
    if medians:
        results[f"{figure}_growth", where] = [max(medians) / min(medians)]


def load(folder):
    """{(figure, case): samples} of all programs, and what is computed from them."""
    results = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            results.setdefault((entry["figure"], entry["case"]), []).extend(entry["samples"])
    add_growth(results, "commands", "2 to 1000 waiters", "")
    add_growth(results, "commands_shared", "writers, 2 to 256 waiters", "writers, ")
    # With fewer waiters, some acquisitions need not wait.
    add_growth(results, "commands_shared", "readers and writers, 8 to 256 waiters", "readers and writers, ", 8)
    add_growth(results, "commands_permit", "4 permits, 8 to 256 waiters", "4 permits, ", 8)
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


def published_rows(page):
    """The rows that table() wrote into a page."""
    title = ""
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 6 or not re.match(r"[\d.]+$", cells[3]):
            continue
        title = cells[0] or title
        row = {"title": title, "case": cells[1], "median": float(cells[3])}
        row["q1"], row["q3"] = map(float, (cells[4] or f"{cells[3]} – {cells[3]}").split(" – "))
        if cells[2]:
            row["bound"], _, limit = cells[2].rpartition(" ")
            row["limit"] = float(limit)
            row["reached"] = cells[5] == "yes"
        yield row


def curves_of(results):
    """What the plots show and the table does not: {"waits": {curve: [[wait, %]…]}, "shared": {case: quartiles}}."""
    curves = {"waits": {}, "shared": {}}
    for section in ("100 us", "2000 us"):
        for kind, title in [("", "Lock"), ("_raw", "raw hiredis")]:
            samples = results.get((f"wait_quantiles{kind}", f"unix, {section}"), [])
            curve = f"{title}, {section.replace('us', 'µs')} sections"
            curves["waits"][curve] = [[round(value, 3), 100 * n / len(samples)] for n, value in enumerate(samples)]
    for count in (0, 64, 4096):
        samples = results.get((f"local_{count}_over_mutex", "unix"))
        if samples:
            curves["shared"][f"local_handoffs={count}"] = [float(f"{quantile(samples, q):.4g}") for q in (0.25, 0.5, 0.75)]
    return curves


# Colours of docs/diagrams/dark.css, which has their counterparts in dark mode.
GROUND, INK, BLUE, GREEN, RED, GRID = "#ffffff", "#24292f", "#225588", "#227744", "#bb3333", "#d0d7de"


def gnuplot(target, size, title, description, *commands):
    script = [f"set terminal svg size {size} noenhanced font 'sans-serif,14' background '{GROUND}'",
              f"set output '{target}'", f"set grid lc rgb '{GRID}'", f"set border 3 lc rgb '{INK}'", "set tics nomirror"]
    subprocess.run(["gnuplot"], input="\n".join([*script, *commands, ""]), text=True, check=True)
    finish = pathlib.Path(__file__).parents[2] / "docs" / "diagrams" / "finish.py"
    subprocess.run([sys.executable, finish, target, title, description], check=True)
    page = target.parents[1] / "performance.md"
    if page.exists():  # the description is the alternative text, too
        alternative = textwrap.fill(f"![{description}](performance/{target.name})", 115)
        image = rf"!\[[^\]]*\]\(performance/{target.name}\)"
        page.write_text(re.sub(image, lambda _: alternative, page.read_text(encoding="utf-8")), encoding="utf-8")


def data(name, lines):
    return "\n".join([f"${name} << END", *lines, "END"])


def plot_goals(all_rows, folder):
    """Every figure in parts of its goal, under the figure's title: left of the line is good."""
    headings, lines, y, worst = [], {True: [], False: []}, 0, (0, "")
    shown = full = ""
    for row in all_rows:
        title = row["title"]
        if title.startswith("the same"):
            title = (full.split(": ")[0] if title.startswith("the same:") else full) + title[len("the same"):]
        else:
            full = title
        if "limit" not in row:
            continue
        if title != shown:
            y -= 1.2
            headings.append(f"set label '{title}' at screen 0.015, first {y} front")
            shown = title
        y -= 1
        parts = [row[key] / row["limit"] if row["bound"] == AT_MOST else row["limit"] / row[key]
                 for key in ("median", "q1", "q3")]
        case = row["case"].replace(" us", " µs")
        lines[row["reached"]].append(f'{parts[0]:.4g} {y} {min(parts[1:]):.4g} {max(parts[1:]):.4g} "{case}"')
        if parts[0] > worst[0]:
            worst = parts[0], f"{title} ({row['case']})"
    missed = len(lines[False])
    gnuplot(folder / "goals.svg", f"820,{90 - 19 * y:.0f}", "Every figure in parts of its goal",
            f"Medians and quartiles in parts of their goals, on a logarithmic axis, grouped by figure. {missed} of "
            f"{missed + len(lines[True])} medians, drawn as red squares, are right of the line at 1: they miss their goal. "
            f"Farthest right, at {worst[0]:.2g}: {re.sub('[<>#]', '', worst[1])}.",
            data("Reached", lines[True]), data("Missed", lines[False]), *headings, "set logscale x",
            f"set yrange [{y - 1}:0]", "set xlabel 'median and quartiles, in parts of the goal'", "set key off",
            f"set arrow from 1, graph 0 to 1, graph 1 nohead lc rgb '{RED}' lw 2",
            "set label 'reached' at 0.94, graph 1 right offset 0, 0.8", "set label 'missed' at 1.06, graph 1 offset 0, 0.8",
            "set lmargin at screen 0.2", "set rmargin at screen 0.97", "set tmargin 2", "set xrange [0.1:3]",
            "set xtics (0.1, 0.2, 0.5, 1, 2, 3)", "set grid noytics", "set border 1", "set ytics scale 0",
            f"plot $Reached using 1:2:3:4:ytic(5) with xerrorbars pt 7 ps 0.6 lc rgb '{BLUE}'"
            + (f", $Missed using 1:2:3:4:ytic(5) with xerrorbars pt 5 ps 0.6 lc rgb '{RED}'" if missed else ""))


def plot_waits(curves, folder):
    blocks, plots, medians = [], [], []
    for i, (title, points) in enumerate(curves.items()):
        if points:
            blocks.append(data(f"W{i}", [f"{wait} {percent}" for wait, percent in points]))
            medians.append(f"{next(wait for wait, percent in points if percent >= 50):.2f} for {title}")
            plots.append(f"$W{i} with lines lw 2 dt {1 + i % 2} lc rgb '{(BLUE, GREEN)[i // 2]}' title '{title}'")
    if plots:
        gnuplot(folder / "waits.svg", "620,400", "Distribution of the waits of 8 threads",
                "Cumulative distribution of the waits of 8 threads, over strict order of arrival. Medians: "
                + "; ".join(medians) + ".",
                *blocks, "set xrange [0.5:2]", "set key right bottom", "set xlabel 'wait, over 7 × (section + hand-off)'",
                "set ylabel 'waits that were no longer, %'", "plot " + ", ".join(plots))


def plot_commands(all_rows, folder):
    points = [(row["case"].split()[0], number(row["median"])) for row in all_rows if row["title"] == FIGURES["commands"][0]]
    if points:
        gnuplot(folder / "commands.svg", "620,320", "Server commands for each contended acquisition",
                "Commands for each acquisition: "
                + ", ".join(f"{median} with {waiters}" for waiters, median in points) + " waiters. The goal is at most 13.",
                data("D", map(" ".join, points)), "set logscale x 2", "set yrange [0:15]", "set xrange [1.7:1200]",
                "set xlabel 'waiters'",
                "set xtics (2, 8, 32, 128, 512)", "set ylabel 'commands for each acquisition'", "set key right bottom",
                f"plot 13 lw 2 dt 2 lc rgb '{RED}' title 'goal: at most 13', "
                f"$D with linespoints pt 7 ps 0.8 lw 2 lc rgb '{BLUE}' title 'measured'")


def plot_shared(quartiles, folder):
    points = [f'"{case}" {low} {median} {high}' for case, (low, median, high) in quartiles.items()]
    if points:
        gnuplot(folder / "shared.svg", "620,340", "Eight threads that share one Lock",
                "Acquisitions each second of eight threads that share one Lock, over those of std::timed_mutex, on a "
                "logarithmic axis: "
                + ", ".join(f"{number(median)} with {case}" for case, (_, median, _) in quartiles.items()) + ".",
                data("D", points), "set logscale y", "set yrange [0.0001:3]", "set xrange [-0.6:2.6]",
                'set ylabel "acquisitions each second,\\nover those of std::timed_mutex"',
                "set format y '%g'", "set key off", "set label 'std::timed_mutex' at -0.5, 1 offset 0, 0.6",
                f"plot 1 lw 2 dt 2 lc rgb '{RED}', "
                f"$D using 0:2:(0):($4-$2) with vectors heads size screen 0.008,90 lw 2 lc rgb '{BLUE}', "
                f"$D using 0:3:xtic(1) with points pt 7 ps 0.6 lc rgb '{BLUE}', "
                "$D using 0:3:(sprintf('%.2g', $3)) with labels left offset 1.2, 0")


def draw(all_rows, curves, folder):
    plot_goals(all_rows, folder)
    plot_waits(curves["waits"], folder)
    plot_commands(all_rows, folder)
    plot_shared(curves["shared"], folder)


def replace_block(text, name, lines):
    block = "\n".join([f"<!-- {name}: written by tests/benchmark/run.sh --publish -->", "", *lines, "", f"<!-- end of {name} -->"])
    return re.sub(rf"<!-- {name}: .*?<!-- end of {name} -->", lambda _: block, text, flags=re.DOTALL)


def main():
    if sys.argv[1] == "--redraw":
        docs = pathlib.Path(sys.argv[2])
        curves = json.loads((docs / "performance" / "plots.json").read_text(encoding="utf-8"))
        draw(list(published_rows(docs / "performance.md")), curves, docs / "performance")
        return
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
    curves = curves_of(results)
    (plots / "plots.json").write_text(json.dumps(curves, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(all_rows, curves, plots)


main()
