"""Takes the shared framework out of a program that was published with it, for `dotnet exec --fx-version`.

    unpack_framework.py PROGRAM_FOLDER DOTNET_FOLDER

PROGRAM_FOLDER holds one .deps.json, which says which of the files beside it are the runtime's. Those go to
DOTNET_FOLDER/shared/Microsoft.NETCore.App/VERSION and DOTNET_FOLDER/host/fxr/VERSION, where `dotnet` looks for them.
"""

import json
import pathlib
import shutil
import sys

PACK = "runtimepack.Microsoft.NETCore.App.Runtime.linux-x64"
NAME = "Microsoft.NETCore.App"
# For debuggers alone.
UNUSED = {"createdump", "libmscordaccore.so", "libmscordbi.so"}


def main() -> None:
    program, dotnet = map(pathlib.Path, sys.argv[1:])
    (path,) = program.glob("*.deps.json")
    deps = json.loads(path.read_text())
    target = deps["runtimeTarget"]["name"]
    (pack,) = (name for name in deps["targets"][target] if name.startswith(PACK + "/"))
    version = pack.removeprefix(PACK + "/")
    files = deps["targets"][target][pack]
    for kind, names in files.items():
        # The program's makers left out what it does not need.
        there = {name for name in names if (program / name).is_file()} - UNUSED
        files[kind] = {name: about for name, about in names.items() if name in there}

    framework = dotnet / "shared" / NAME / version
    framework.mkdir(parents=True)
    for name in [*files["runtime"], *files["native"]]:
        shutil.copy2(program / name, framework / name)
    host = dotnet / "host" / "fxr" / version
    host.mkdir(parents=True)
    shutil.move(framework / "libhostfxr.so", host)
    del files["native"]["libhostfxr.so"]

    own = {
        "runtimeTarget": deps["runtimeTarget"],
        "targets": {target: {f"{NAME}/{version}": files}},
        "libraries": {f"{NAME}/{version}": {"type": "package", "serviceable": True, "sha512": ""}},
    }
    (framework / f"{NAME}.deps.json").write_text(json.dumps(own, indent=1))


main()
