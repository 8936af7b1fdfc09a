// For tests/coverage.sh, which links it into the tests with --wrap=_exit: a forked child leaves by _exit,
// and its counters would be lost.

extern "C" {
void __gcov_dump();                   // NOLINT: the names are the compiler's and the linker's
[[noreturn]] void __real__exit(int);  // NOLINT
[[noreturn]] void __wrap__exit(int);  // NOLINT

void __wrap__exit(int status) {  // NOLINT
  __gcov_dump();
  __real__exit(status);
}
}
