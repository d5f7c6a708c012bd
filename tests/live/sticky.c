/* What fs.protected_* forbid: every way to open, follow and link what lies in the directories named, each told by its errno. With a third word it is nobody's doing. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *where;
static char name[512];

static void tell(const char *what, int result) {
    printf("%s %s/%s: %s\n", what, where, name, result < 0 ? strerrorname_np(errno) : "done");
    if (result > 2) close(result);
}

static void opened(const char *what, int flags) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", where, name);
    tell(what, open(path, flags, 0600));
}

static int by_name(const struct dirent **one, const struct dirent **other) { return strcmp((*one)->d_name, (*other)->d_name); }

int main(int count, char **words) {
    struct stat status;
    char path[600];
    if (count > 2 && (syscall(SYS_setresgid, 65534, 65534, 65534) || syscall(SYS_setresuid, 65534, 65534, 65534))) return 9;
    if (chdir(words[1])) return 8;
    const char *places[] = {"shared", "group", "loose", "theirs", 0};
    for (const char **place = places; *place; place++) {
        struct dirent **names;
        int found = scandir(*place, &names, 0, by_name);
        where = *place;
        for (int at = 0; at < found; at++) {
            strcpy(name, names[at]->d_name);
            if (name[0] == '.') continue;
            snprintf(path, sizeof path, "%s/%s", where, name);
            opened("create to read", O_CREAT | O_RDONLY | O_NONBLOCK);
            opened("create to change", O_CREAT | O_RDWR | O_TRUNC | O_NONBLOCK);
            opened("create, no link", O_CREAT | O_RDWR | O_NOFOLLOW | O_NONBLOCK);
            opened("create anew", O_CREAT | O_EXCL | O_RDWR | O_NONBLOCK);
            opened("read", O_RDONLY | O_NONBLOCK);
            tell("look", stat(path, &status));
            tell("ask", access(path, R_OK));
            tell("ask as another", faccessat(AT_FDCWD, path, R_OK, AT_EACCESS));
            tell("lengthen", truncate(path, 3));
            tell("link", link(path, "loose/linked"));
            unlink("loose/linked");
            tell("link what it leads to", linkat(AT_FDCWD, path, AT_FDCWD, "loose/linked", AT_SYMLINK_FOLLOW));
            unlink("loose/linked");
            if (strstr(name, "way")) { /* a link on the way, and not the last */
                snprintf(path, sizeof path, "%s/%s/made", where, name);
                tell("make through", mkdir(path, 0700));
                tell("look through", stat(path, &status));
                tell("open through", open(path, O_RDONLY | O_CREAT, 0600));
                tell("remove through", rmdir(path));
                snprintf(path, sizeof path, "%s/%s/", where, name);
                tell("look to", stat(path, &status));
            }
            if (!strcmp(name, "3-way") && count == 2) { /* a descriptor, by a link in a directory that all may write */
                snprintf(path, sizeof path, "%s/descriptor", where);
                unlink(path);
                symlink("/proc/self/fd/0", path);
                strcpy(name, "descriptor");
                opened("create by descriptor", O_CREAT | O_RDONLY);
            }
        }
    }
    return 0;
}
