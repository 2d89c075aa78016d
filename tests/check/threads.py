#!/usr/bin/python3
"""The suite `threads`, all that the thread sanitizer runs, is the programs of the suites unit and model
that can start a thread: threads.py BUILD, or --self-test CC..."""

import json
import os
import re
import subprocess
import sys
import tempfile

import tree

STARTS = re.compile(r"^\s*U (pthread_create|thrd_create|uv_queue_work|uv_thread_create)\b", re.M)


def can_start(program):
    done = subprocess.run(["nm", "--dynamic", "--undefined-only", program], check=True, text=True,
                          stdout=subprocess.PIPE)
    return bool(STARTS.search(done.stdout))


def judge(tests):
    """[(name, its suites, its program)]"""
    problems = []
    for name, suites, program in tests:
        if can_start(program) and "threads" not in suites:
            problems.append(f"{name}: starts threads, and is not in the suite `threads`")
        if not can_start(program) and "threads" in suites:
            problems.append(f"{name}: in the suite `threads`, and starts none")
    return len(tests), problems


def check(build):
    out = subprocess.run(["meson", "introspect", "--tests", build], check=True,
                         stdout=subprocess.PIPE).stdout
    tests = [(test["name"], {suite.split(":")[-1] for suite in test["suite"]}, test["cmd"][0])
             for test in json.loads(out)]
    return judge([test for test in tests if test[1] & {"unit", "model", "threads"}])


def self_test(compiler):
    sources = {"none": "int main(void) { return 0; }\n",
               "some": "#include <pthread.h>\nint main(void) { pthread_t t;\n"
                       "return pthread_create(&t, 0, 0, 0); }\n"}
    with tempfile.TemporaryDirectory() as folder:
        for name, text in sources.items():
            path = os.path.join(folder, name)
            with open(path + ".c", "w", encoding="utf-8") as file:
                file.write(text)
            subprocess.run([*compiler, "-w", "-pthread", "-o", path, path + ".c"], check=True)
        tests = [(f"{name} {' '.join(suites)}", set(suites), os.path.join(folder, name))
                 for name in sources for suites in (["unit"], ["unit", "threads"])]
        _, problems = judge(tests)
    want = ["none unit threads: in the suite", "some unit: starts threads"]
    wrong = [f"{text}: went unseen" for text in want
             if not any(p.startswith(text) for p in problems)]
    wrong += [f"{len(problems)} problems, not {len(want)}"] if len(problems) != len(want) else []
    tree.verdict("threads, tried on itself", len(tests), wrong)


if __name__ == "__main__":
    if sys.argv[1] == "--self-test":
        self_test(sys.argv[2:])
    tree.verdict("threads", *check(sys.argv[1]))
