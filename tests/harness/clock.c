/* A clock that somebody sets: for a process that is started with this in LD_PRELOAD.

   The file that CLOCK_OFFSET names has by how many microseconds, as 8 bytes in the machine's order,
   the time is something else than it is. It may change while the process runs. Only the time of day
   is concerned, as when somebody sets a clock. Declares what it uses by itself, so that a compiler
   will do that has no headers. */

typedef long word;
struct timeval { word seconds, micros; };
struct timespec { word seconds, nanos; };

extern char *getenv(const char *name);
extern int open(const char *path, int flags, ...);
extern void *mmap(void *at, unsigned long length, int protection, int flags, int file, word offset);
extern word syscall(word number, ...);

#if defined(__x86_64__)
#define SYS_CLOCK_GETTIME 228
#elif defined(__aarch64__)
#define SYS_CLOCK_GETTIME 113
#else
#error "the number of clock_gettime on this machine is not known"
#endif
#define REALTIME 0
#define REALTIME_COARSE 5
#define READ 1
#define SHARED 1
#define FAILED ((void *)-1)

static volatile word *offset;
static word none;

/* Found when it is asked for first, for not every compiler knows of constructors. */
static word off(void) {
  if (!offset) {
    const char *path = getenv("CLOCK_OFFSET");
    int file = path ? open(path, 0) : -1;
    void *memory = file < 0 ? FAILED : mmap(0, sizeof(word), READ, SHARED, file, 0);
    offset = memory == FAILED ? &none : memory;
  }
  return *offset;
}

int clock_gettime(int clock, struct timespec *now) {
  int result = syscall(SYS_CLOCK_GETTIME, (word)clock, now);
  if (result == 0 && (clock == REALTIME || clock == REALTIME_COARSE)) {
    word micros = now->seconds * 1000000 + now->nanos / 1000 + off();
    now->nanos = micros % 1000000 * 1000 + now->nanos % 1000;
    now->seconds = micros / 1000000;
  }
  return result;
}

int gettimeofday(struct timeval *now, void *zone) {
  struct timespec precise;
  (void)zone;
  if (clock_gettime(REALTIME, &precise) != 0) return -1;
  now->seconds = precise.seconds;
  now->micros = precise.nanos / 1000;
  return 0;
}

word time(word *now) {
  struct timespec precise;
  clock_gettime(REALTIME, &precise);
  if (now) *now = precise.seconds;
  return precise.seconds;
}
