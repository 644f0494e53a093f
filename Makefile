# Two commands on a fresh machine: `make demo` and `make test`. Everything they need is set up first, quickly the second time.
# PYTHON=/path/to/python3 chooses the Python; PYTEST_ARGS="-k grid" narrows the tests.

.PHONY: demo test lint bench setup system clean

demo: setup
	@rm -f demo-result/window.png
	.venv/bin/deformreg demo --out demo-result --no-view
	@tools/show_result.sh demo-result

test: setup
	@tools/run_tests.sh $(PYTEST_ARGS)

lint: .venv/.ready
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports

# Ours against the peers side by side, scored by a referee from outside: make bench REFEREE=referee.py CASES="case_dir ..."
# PEERS_PYTHON=peers/bin/python has the peers (benchmarks/peers.txt); BENCH_ARGS="--repeats 1 --tools ours,greedy" changes what is run.
bench: .venv/.ready
	.venv/bin/python benchmarks/compare.py --referee "$(REFEREE)" $(if $(PEERS_PYTHON),--peers-python "$(PEERS_PYTHON)") \
	  --out bench-results $(BENCH_ARGS) $(CASES)

setup: system .venv/.ready

system:
	@tools/system_packages.sh

.venv/.ready: pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" tools/setup_venv.sh

clean:
	rm -rf .venv build dist demo-result *.egg-info
