/* What a process launcher can do at most on this machine: vfork, exec, wait, with a log file for each.

       loop COUNT SLOTS DIRECTORY      runs `true` COUNT times, SLOTS at a time; prints how long it took, in ns
*/
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void launch(const char *directory, long number)
{
    char path[4096];
    char *argv[] = {"true", NULL};
    int log, null;
    snprintf(path, sizeof path, "%s/%ld.log", directory, number);
    log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (log < 0 || null < 0) {
        perror(path);
        exit(1);
    }
    switch (vfork()) {
    case -1:
        perror("vfork");
        exit(1);
    case 0:
        setsid();
        dup2(null, 0);
        dup2(log, 1);
        dup2(log, 2);
        execve("/usr/bin/true", argv, environ);
        execve("/bin/true", argv, environ);
        _exit(127);
    }
    close(log);
    close(null);
}

int main(int argc, char **argv)
{
    struct timespec start, end;
    long count, slots, begun = 0, ended = 0;
    int status;
    if (argc != 4)
        return 2;
    count = atol(argv[1]);
    slots = atol(argv[2]);
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (ended < count) {
        while (begun < count && begun - ended < slots)
            launch(argv[3], begun++);
        if (wait(&status) < 0 || status != 0) {
            fprintf(stderr, "a child ended with %d\n", status);
            return 1;
        }
        ended++;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%lld\n", (end.tv_sec - start.tv_sec) * 1000000000LL + (end.tv_nsec - start.tv_nsec));
    return 0;
}
