/* Does what programs do with files, and prints what came of each: the result, the errno, what was seen. Run in an empty directory, once as it
 * is and once with its files brokered; both must print the same. Nothing printed depends on the time, on numbers of inodes or of processes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

static int line;
static void say(const char *what, long result) {
    int error = errno;
    printf("%d %s = %ld%s%s\n", ++line, what, result, result == -1 ? " " : "", result == -1 ? strerrorname_np(error) : "");
    errno = 0;
}
#define DO(...) (errno = 0, say(#__VA_ARGS__, (long)(__VA_ARGS__)))
/* a descriptor's number may differ: only whether there is one */
#define OPEN(...) (errno = 0, fd = (__VA_ARGS__), say(#__VA_ARGS__, fd < 0 ? -1 : 0))

static void see(const char *name, int flags) {
    struct stat st;
    memset(&st, 0, sizeof st);
    int got = fstatat(AT_FDCWD, name, &st, flags);
    say(name, got);
    if (got == 0)
        printf("   mode %o links %lu uid %u gid %u size %lld rdev %llx times %lld.%ld %lld.%ld\n", st.st_mode, (unsigned long)st.st_nlink, st.st_uid, st.st_gid,
               S_ISDIR(st.st_mode) ? 0LL : (long long)st.st_size, (unsigned long long)st.st_rdev,
               st.st_mtime < 1500000000 ? (long long)st.st_atime : 0LL, st.st_mtime < 1500000000 ? st.st_atim.tv_nsec : 0L,
               st.st_mtime < 1500000000 ? (long long)st.st_mtime : 0LL, st.st_mtime < 1500000000 ? st.st_mtim.tv_nsec : 0L);
}

static void content(int fd) {
    char text[64];
    ssize_t got = fd < 0 ? -1 : pread(fd, text, sizeof text, 0);
    printf("   read %zd: %.*s\n", got, (int)(got < 0 ? 0 : got), text);
}

static void flags_of(int fd) { printf("   flags %x descriptor %x\n", fcntl(fd, F_GETFL) & ~0100000, fcntl(fd, F_GETFD)); }

int main(void) {
    int fd, dir, other;
    char text[8192];
    struct statx sx;
    struct statfs sfs;
    setvbuf(stdout, 0, _IOLBF, 0);
    umask(022);

    /* making and opening */
    OPEN(open("a", O_RDONLY));
    OPEN(open("a", O_CREAT | O_WRONLY, 0666)); DO(write(fd, "hello", 5)); flags_of(fd); close(fd);
    OPEN(open("a", O_CREAT | O_EXCL | O_WRONLY, 0666));
    OPEN(open("a", O_RDWR | O_CLOEXEC | O_APPEND)); content(fd); flags_of(fd); close(fd);
    umask(077); OPEN(open("private", O_CREAT | O_RDWR, 0666)); close(fd); umask(0); OPEN(creat("public", 0666)); close(fd); umask(022);
    see("private", 0); see("public", 0);
    OPEN(open("a/", O_RDONLY)); OPEN(open("a/b", O_RDONLY)); OPEN(open("nodir/b", O_CREAT | O_WRONLY, 0600)); OPEN(open("new/", O_CREAT | O_WRONLY, 0600));
    OPEN(open("", O_RDONLY)); OPEN(open(".", O_RDONLY)); close(fd); OPEN(open(".", O_WRONLY)); OPEN(open(".", O_CREAT | O_RDWR, 0600));
    OPEN(open("./", O_RDONLY | O_DIRECTORY)); close(fd); OPEN(open("a", O_RDONLY | O_DIRECTORY)); OPEN(open("a", O_RDONLY | O_TRUNC)); close(fd); see("a", 0);
    OPEN(open("tmpfile", O_CREAT | O_DIRECTORY, 0600));
    OPEN(open("odd", O_CREAT | O_RDWR, 07777)); close(fd); see("odd", 0);
    OPEN(open("a", 3)); close(fd);
    OPEN(openat(AT_FDCWD, "a", O_RDONLY)); close(fd); OPEN(openat(99, "a", O_RDONLY)); OPEN(openat(99, "/dev/null", O_RDONLY)); close(fd);

    /* bad pointers */
    char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(page + 4096, 4096);
    memset(page, 'x', 4096);
    OPEN(open(page, O_RDONLY)); OPEN(open((char *)1, O_RDONLY)); OPEN(open(NULL, O_RDONLY));
    memcpy(page + 4090, "./././", 6); OPEN(open(page + 4090, O_RDONLY));
    memset(text, '/', sizeof text); text[5000] = 0; OPEN(open(text, O_RDONLY));
    memset(text, 'n', 300); text[300] = 0; OPEN(open(text, O_CREAT | O_WRONLY, 0600)); text[255] = 0; OPEN(open(text, O_CREAT | O_WRONLY, 0600)); close(fd); DO(unlink(text));
    DO(syscall(SYS_access, page, 0));

    /* directories */
    DO(mkdir("d", 0777)); DO(mkdir("d", 0777)); DO(mkdir("d/e/", 0750)); DO(mkdir("a/x", 0777)); DO(mkdir("..", 0777)); DO(mkdir(".", 0777)); DO(mkdir("", 0777));
    see("d", 0); see("d/e", 0);
    OPEN(open("d", O_RDONLY | O_DIRECTORY)); dir = fd;
    OPEN(openat(dir, "in", O_CREAT | O_RDWR, 0640)); close(fd); DO(mkdirat(dir, "f", 0700)); OPEN(openat(dir, "../a", O_RDONLY)); close(fd);
    DO(fchdir(dir)); OPEN(open("in", O_RDONLY)); close(fd); OPEN(open("../a", O_RDONLY)); close(fd); DO(chdir("e")); OPEN(open("../in", O_RDONLY)); close(fd); DO(chdir("../.."));
    DO(rmdir("d")); DO(rmdir("d/f")); DO(rmdir("d/f")); DO(rmdir("a")); DO(rmdir(".")); DO(rmdir("d/e/..")); DO(unlinkat(dir, "e", AT_REMOVEDIR)); DO(unlinkat(dir, "in", 7)); DO(unlink("d")); DO(unlink("a/"));

    /* links */
    DO(symlink("a", "s")); DO(symlink("missing", "dangling")); DO(symlink("loop", "loop")); DO(symlink("d", "sd")); DO(symlink("", "empty")); DO(symlink("x", "s"));
    DO(symlinkat("../a", dir, "up"));
    memset(text, 0, sizeof text); DO(readlink("s", text, sizeof text)); puts(text); DO(readlink("dangling", text, 3)); printf("%.3s\n", text); DO(readlink("a", text, 9)); DO(readlink("s", text, 0)); DO(readlinkat(dir, "up", text, 99));
    DO(readlink("none", text, 9)); DO(readlink("s", (char *)1, 9)); DO(readlinkat(dir, "", text, 9)); DO(readlink("s/", text, 9)); DO(readlink("sd/", text, 9));
    OPEN(open("s", O_RDONLY)); close(fd); OPEN(open("s", O_RDONLY | O_NOFOLLOW)); OPEN(open("loop", O_RDONLY)); OPEN(open("loop/x", O_RDONLY)); OPEN(open("sd/in", O_RDONLY)); close(fd);
    OPEN(open("dangling", O_RDONLY)); OPEN(open("dangling", O_CREAT | O_EXCL | O_WRONLY, 0600)); OPEN(open("dangling", O_CREAT | O_WRONLY, 0600)); close(fd); see("missing", 0); see("dangling", AT_SYMLINK_NOFOLLOW);
    OPEN(open("sd", O_RDONLY | O_DIRECTORY | O_NOFOLLOW)); OPEN(open("sd/", O_RDONLY | O_NOFOLLOW)); close(fd); OPEN(open("d/up", O_RDONLY)); close(fd);
    see("s", 0); see("s", AT_SYMLINK_NOFOLLOW); see("loop", 0); see("loop", AT_SYMLINK_NOFOLLOW); see("sd/", AT_SYMLINK_NOFOLLOW); see("a/", 0);
    DO(link("a", "hard")); DO(link("a", "hard")); DO(link("s", "hards")); DO(linkat(AT_FDCWD, "s", AT_FDCWD, "hardf", AT_SYMLINK_FOLLOW)); DO(link("d", "hardd")); DO(link("none", "x")); DO(link("a", "d/"));
    DO(linkat(AT_FDCWD, "a", dir, "hard", 0x20)); see("hard", 0); see("hards", AT_SYMLINK_NOFOLLOW); see("hardf", 0);
    OPEN(open("x", O_PATH | O_NOFOLLOW));

    /* temporary files */
    OPEN(open(".", O_TMPFILE | O_RDWR, 0640)); DO(write(fd, "tmp", 3)); snprintf(text, sizeof text, "/proc/self/fd/%d", fd); DO(linkat(AT_FDCWD, text, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    DO(fchmod(fd, 0644)); close(fd); see("named", 0); OPEN(open("d", O_TMPFILE | O_RDONLY, 0600)); OPEN(open("a", O_TMPFILE | O_RDWR, 0600));

    /* moving */
    DO(rename("hard", "moved")); DO(rename("none", "moved")); DO(rename("moved", "d")); DO(rename("d", "moved")); DO(rename("moved", "moved")); DO(rename("d", "d/sub")); DO(rename(".", "z")); DO(rename("a", ""));
    DO(renameat(AT_FDCWD, "moved", dir, "moved")); DO(syscall(SYS_renameat2, dir, "moved", AT_FDCWD, "a", 1)); DO(syscall(SYS_renameat2, dir, "moved", AT_FDCWD, "s", 2)); DO(syscall(SYS_renameat2, dir, "moved", AT_FDCWD, "none", 2));
    DO(syscall(SYS_renameat2, dir, "moved", AT_FDCWD, "s", 3)); DO(syscall(SYS_renameat2, dir, "moved", AT_FDCWD, "q", 64)); DO(rename("d/moved", "back")); DO(rename("back/", "q")); DO(rename("sd", "sd2")); DO(rename("sd2/", "sd3"));
    see("back", AT_SYMLINK_NOFOLLOW); see("s", AT_SYMLINK_NOFOLLOW); see("sd2", AT_SYMLINK_NOFOLLOW);

    /* nodes */
    DO(mknod("fifo", S_IFIFO | 0666, 0)); DO(mknod("plain", S_IFREG | 0600, 0)); DO(mknod("notype", 0640, 0)); DO(mknod("sock", S_IFSOCK | 0600, 0)); DO(mknod("fifo", S_IFIFO | 0666, 0)); DO(mknodat(dir, "fifo", S_IFIFO | 0622, 0));
    DO(mknod("dir", S_IFDIR | 0700, 0)); see("fifo", 0); see("plain", 0); see("notype", 0); see("sock", 0); OPEN(open("sock", O_RDONLY));
    OPEN(open("fifo", O_WRONLY | O_NONBLOCK)); OPEN(open("fifo", O_RDONLY | O_NONBLOCK)); other = fd; OPEN(open("fifo", O_WRONLY)); DO(write(fd, "p", 1)); DO(read(other, text, 9)); close(fd); close(other);
    OPEN(open("fifo", O_RDWR)); close(fd);
    fflush(stdout);
    if (fork() == 0) { int out = open("fifo", O_WRONLY); if (write(out, "through", 7) != 7) _exit(1); _exit(0); }
    OPEN(open("fifo", O_RDONLY)); memset(text, 0, 9); DO(read(fd, text, 7)); puts(text); flags_of(fd); close(fd); wait(0);

    /* what a file has */
    DO(chmod("a", 04711)); see("a", 0); DO(chmod("s", 0600)); DO(chmod("none", 0600)); DO(fchmodat(dir, "in", 0604, 0)); see("d/in", 0); DO(chmod("loop", 0)); DO(chmod("d", 01777)); see("d", 0); DO(syscall(SYS_fchmodat, AT_FDCWD, "a", 0x10000 | 0640)); see("a", 0);
    DO(chown("a", -1, -1)); DO(lchown("s", -1, -1)); DO(chown("none", -1, -1)); DO(fchownat(dir, "", -1, -1, AT_EMPTY_PATH)); DO(fchownat(dir, "in", getuid(), getgid(), 0)); DO(chown("a", 12345, 12345)); see("a", 0); DO(lchown("s", 0, 0));
    struct timespec times[2] = {{1000000001, 5}, {1000000002, 999999999}}, now[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}}, bad[2] = {{0, 1000000000}, {0, 0}};
    DO(utimensat(AT_FDCWD, "plain", times, 0)); see("plain", 0); DO(utimensat(AT_FDCWD, "plain", now, 0)); DO(utimensat(AT_FDCWD, "plain", bad, 0)); DO(utimensat(AT_FDCWD, "plain", NULL, 0)); DO(utimensat(AT_FDCWD, "s", times, AT_SYMLINK_NOFOLLOW));
    see("s", AT_SYMLINK_NOFOLLOW); DO(utimensat(dir, "in", times, 0)); see("d/in", 0); DO(syscall(SYS_utimensat, AT_FDCWD, "plain", (void *)1, 0)); struct timeval tv[2] = {{1000000003, 4}, {1000000005, 6}}; DO(utimes("plain", tv)); see("plain", 0);
    struct utimbuf ut = {1000000007, 1000000008}; DO(utime("plain", &ut)); see("plain", 0); tv[0].tv_usec = 1000000; DO(utimes("plain", tv)); OPEN(open("plain", O_RDWR)); DO(futimens(fd, times)); DO(fchmod(fd, 0606)); DO(fchown(fd, -1, -1)); close(fd); see("plain", 0);
    DO(truncate("a", 100)); see("a", 0); DO(truncate("a", -1)); DO(truncate("d", 0)); DO(truncate("fifo", 0)); DO(truncate("none", 0)); DO(truncate("a", 0)); see("a", 0);

    /* asking */
    DO(access("a", F_OK)); DO(access("a", R_OK | W_OK)); DO(access("a", X_OK)); DO(access("none", F_OK)); DO(access("a", 8)); DO(faccessat(dir, "in", R_OK, 0)); DO(faccessat(dir, "in", X_OK, AT_EACCESS)); DO(access("loop", F_OK)); DO(access("/dev/null", W_OK)); DO(access("d", X_OK));
    DO(faccessat(AT_FDCWD, "loop", F_OK, AT_SYMLINK_NOFOLLOW));
    DO(statx(AT_FDCWD, "a", 0, STATX_BASIC_STATS, &sx)); printf("   %o %llu\n", sx.stx_mode, (unsigned long long)sx.stx_size); DO(statx(dir, "", AT_EMPTY_PATH, STATX_ALL, &sx)); printf("   %o\n", sx.stx_mode); DO(statx(AT_FDCWD, "none", 0, 0, &sx)); DO(statx(AT_FDCWD, "a", 0, 0x80000000, &sx));
    DO(statx(AT_FDCWD, "a", 0, 0, (void *)1)); DO(syscall(SYS_statx, AT_FDCWD, "", 0, 0, &sx));
    DO(statfs(".", &sfs)); printf("   %lx\n", (long)sfs.f_type); DO(statfs("none", &sfs)); DO(fstatat(0, "", (struct stat *)text, AT_EMPTY_PATH)); DO(fstatat(98, "", (struct stat *)text, AT_EMPTY_PATH)); DO(fstatat(AT_FDCWD, "", (struct stat *)text, 0)); DO(fstatat(AT_FDCWD, "", (struct stat *)text, AT_EMPTY_PATH));
    DO(syscall(SYS_statx, AT_FDCWD, "a", 0, 0, (void *)2));

    /* extended attributes */
    DO(setxattr("a", "user.one", "value", 5, 0)); DO(setxattr("a", "user.one", "value", 5, XATTR_CREATE)); DO(setxattr("a", "user.none", "v", 1, XATTR_REPLACE)); memset(text, 0, 99); DO(getxattr("a", "user.one", text, 99)); puts(text); DO(getxattr("a", "user.one", NULL, 0)); DO(getxattr("a", "user.one", text, 2));
    DO(getxattr("a", "user.none", text, 9)); DO(listxattr("a", text, 99)); puts(text); DO(listxattr("a", NULL, 0)); DO(llistxattr("s", text, 99)); DO(setxattr("a", "", "v", 1, 0)); DO(setxattr("a", "bad", "v", 1, 0)); OPEN(open("a", O_RDWR)); DO(fsetxattr(fd, "user.two", "2", 1, 0)); DO(fgetxattr(fd, "user.two", text, 9)); DO(fremovexattr(fd, "user.two"));
    close(fd); DO(removexattr("a", "user.one")); DO(removexattr("a", "user.one")); DO(lsetxattr("s", "user.x", "v", 1, 0)); DO(setxattr("none", "user.x", "v", 1, 0));

    /* watching */
    int watch = inotify_init1(IN_NONBLOCK);
    DO(inotify_add_watch(watch, "d", IN_CREATE | IN_DELETE)); DO(inotify_add_watch(watch, "d", IN_CREATE | IN_MASK_CREATE)); DO(inotify_add_watch(watch, "a", IN_ONLYDIR | IN_MODIFY)); DO(inotify_add_watch(watch, "none", IN_MODIFY)); DO(inotify_add_watch(97, "d", IN_CREATE));
    DO(inotify_add_watch(0, "d", IN_CREATE)); DO(inotify_add_watch(watch, "a", 0)); DO(inotify_add_watch(watch, "loop", IN_MODIFY)); DO(inotify_add_watch(watch, "loop", IN_ATTRIB | IN_DONT_FOLLOW)); OPEN(open("d/watched", O_CREAT | O_WRONLY, 0600)); close(fd); unlink("d/watched");
    union { struct inotify_event event; char raw[256]; } seen; DO(read(watch, &seen, 32)); puts(seen.event.name); printf("   %x %d\n", seen.event.mask, seen.event.wd); DO(read(watch, &seen, 32)); printf("   %x\n", seen.event.mask); DO(inotify_rm_watch(watch, seen.event.wd)); close(watch);

    /* its own process */
    OPEN(open("/proc/self/comm", O_RDONLY)); content(fd); close(fd); OPEN(open("/proc/thread-self/comm", O_RDONLY)); content(fd); close(fd);
    memset(text, 0, sizeof text); DO(readlink("/proc/self", text, 99) == snprintf(text + 200, 99, "%d", getpid())); DO(atoi(text) == getpid());
    OPEN(open("a", O_RDWR)); other = fd; DO(write(other, "mine", 4)); snprintf(text, sizeof text, "/proc/self/fd/%d", other); OPEN(open(text, O_RDONLY)); content(fd); close(fd); snprintf(text, sizeof text, "/dev/fd/%d", other); OPEN(open(text, O_RDWR)); content(fd); close(fd);
    close(other); OPEN(open(text, O_RDONLY)); OPEN(open("/dev/null", O_RDWR)); DO(write(fd, "x", 1)); close(fd); OPEN(open("/dev/zero", O_RDONLY)); DO(read(fd, text, 4)); close(fd); OPEN(open("/proc/self/fd/nonsense", O_RDONLY)); OPEN(open("/proc/self/cwd/a", O_RDONLY)); content(fd); close(fd);
    int pipes[2]; DO(pipe(pipes)); snprintf(text, sizeof text, "/dev/fd/%d", pipes[1]); OPEN(open(text, O_WRONLY)); DO(write(fd, "pipe", 4)); DO(read(pipes[0], text, 9)); close(fd);
    DO(unlink("d/in")); OPEN(open("plain", O_RDWR)); other = fd; DO(unlink("plain")); snprintf(text, sizeof text, "/proc/self/fd/%d", other); OPEN(open(text, O_RDWR)); close(fd); DO(fchmod(other, 0600)); DO(syscall(SYS_fchown, other, -1, -1)); close(other);
    return 0;
}
