"""What every tool is told that Recast starts: report nothing, look for no update, write nothing into the user's home.

The one place for it. The command line sets the switches for itself and so for all it starts; `tool_variables` adds, for
the processes of stages and verbs, where caches and settings lie.
"""

from __future__ import annotations

from pathlib import Path

from recast.pipeline.core.layout import USER_FOLDER, user_folder

CACHE = ".recast/cache"

SWITCHES = {
    # onnxruntime: sends models and their use to its maker from a thread that no fork can carry over, under an id that
    # it keeps below ~/.cache
    "ORT_DISABLE_TELEMETRY": "1",
    # TensorFlow, which switches it on by itself
    "ENABLE_RUNTIME_UPTIME_TELEMETRY": "0",
    # DVC, and the package its relatives report with
    "DVC_NO_ANALYTICS": "1",
    "ITERATIVE_DO_NOT_TRACK": "1",
    # FastAPI comes with OpenTelemetry's interface, which exports where a package that does so is found
    "OTEL_SDK_DISABLED": "true",
    # pip and npm look for newer versions of themselves; npm reports what is installed for its audit
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "NPM_CONFIG_UPDATE_NOTIFIER": "false",
    "NPM_CONFIG_AUDIT": "false",
    "NPM_CONFIG_FUND": "false",
    # Node.js has packages of its own that look for updates
    "NO_UPDATE_NOTIFIER": "1",
    # no package of ours, but such as a user's model may import, and that would report or look for updates at once
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "WANDB_ERROR_REPORTING": "false",
    "YOLO_OFFLINE": "true",
}


def tool_variables(root: Path) -> dict[str, str]:
    """The switches, and folders below the repository for what tools would write below the user's home.

    It also keeps the user's settings of these tools from changing a result, as those of `~/.keras/keras.json` would.
    """
    cache = root / CACHE
    return {
        **SWITCHES,
        # the one place below it that Recast itself uses, wherever the next line would have it
        USER_FOLDER: str(user_folder()),
        # the rule of freedesktop.org, which most tools keep: PyTorch, Hugging Face, zig, Matplotlib
        "XDG_CACHE_HOME": str(cache),
        "XDG_CONFIG_HOME": str(cache / "config"),
        "XDG_DATA_HOME": str(cache / "data"),
        "XDG_STATE_HOME": str(cache / "state"),
        # tools that do not
        "KERAS_HOME": str(cache / "keras"),
        "MPLCONFIGDIR": str(cache / "matplotlib"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "torchinductor"),
        "TRITON_HOME": str(cache / "triton"),
        "QUACK_HOME": str(cache / "quack"),
        "CUDA_CACHE_PATH": str(cache / "cuda"),
        "NPM_CONFIG_CACHE": str(cache / "npm"),
    }
