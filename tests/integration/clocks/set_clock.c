/* The wall clock of one process, set by a test: laid under the program with LD_PRELOAD, it adds the seconds that the file of
   $SET_CLOCK holds. All other clocks are the machine's. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = syscall(SYS_clock_gettime, clock, now) != 0;
    const char *path = getenv("SET_CLOCK");
    if (failed || clock != CLOCK_REALTIME || path == NULL)
        return failed ? -1 : 0;
    char text[32] = "";
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, text, sizeof text - 1) > 0)
            now->tv_sec += atol(text);
        close(file);
    }
    return 0;
}
