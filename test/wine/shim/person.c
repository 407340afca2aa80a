/* person.exe (TEST ONLY): everything under Wine has an administrator's rights; run the rest of the command line with the
   limited half of the token, as a person's desktop starts programs. */
#include <windows.h>
int main(void) {
    STARTUPINFOW si = { sizeof si }; PROCESS_INFORMATION pi; DWORD code = 255, n;
    TOKEN_LINKED_TOKEN linked; HANDLE token, primary;
    WCHAR *c = GetCommandLineW();
    if (*c == '"') { for (c++; *c && *c != '"'; c++); if (*c) c++; } else while (*c && *c != ' ') c++;
    while (*c == ' ') c++;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_ALL_ACCESS, &token)) return 127;
    if (!GetTokenInformation(token, TokenLinkedToken, &linked, sizeof linked, &n)) return 127;
    if (!DuplicateTokenEx(linked.LinkedToken, TOKEN_ALL_ACCESS, NULL, SecurityImpersonation, TokenPrimary, &primary)) return 127;
    if (!CreateProcessAsUserW(primary, NULL, c, NULL, NULL, TRUE, 0, NULL, NULL, &si, &pi)) return 127;
    WaitForSingleObject(pi.hProcess, INFINITE);
    GetExitCodeProcess(pi.hProcess, &code);
    return code;
}
