/*
 * libwbclient looks for winbindd's socket where SELFTEST_WINBINDD_SOCKET_DIR says only if nss_wrapper, Samba's own test
 * library, is loaded. Preloaded, this says that it is.
 */
#include <stdbool.h>

bool nss_wrapper_enabled(void);

bool nss_wrapper_enabled(void)
{
    return true;
}
