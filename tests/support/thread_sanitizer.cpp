// What ThreadSanitizer has to know in every test; part of no other build.

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define REDIS_LOCK_TEST_THREAD_SANITIZER
#endif
#elif defined(__SANITIZE_THREAD__)
#define REDIS_LOCK_TEST_THREAD_SANITIZER
#endif

#ifdef REDIS_LOCK_TEST_THREAD_SANITIZER
extern "C" {
const char* __tsan_default_options();       // NOLINT: the names are the sanitizer's
const char* __tsan_default_suppressions();  // NOLINT

/// By default it ends a child that starts a thread after a fork from a process with several.
const char* __tsan_default_options() { return "die_after_fork=0"; }  // NOLINT

/// The timed members of std::timed_mutex end in pthread_mutex_clocklock, which clang 14's does not
/// know: it believes that what they locked is unlocked. The count of references to an exception, which a future carries
/// from one thread to another, is inside libstdc++, which is not instrumented.
const char* __tsan_default_suppressions() {  // NOLINT
  return "mutex:std::timed_mutex::unlock\nrace:std::__exception_ptr::exception_ptr::_M_release\n";
}
}
#endif
