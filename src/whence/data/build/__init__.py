"""From any chat or prompt/completion data to splits and a manifest: `whence data build`.

    sources → prompt + completion → cut → filters → stratified, disjoint splits → checks → manifest

The defaults are the user's SmolTalk experiment (§14 of the notes). Two builds with the same seed
and the same data write the same bytes.
"""

from whence.data.build.command import BuildResult, build
from whence.data.build.settings import BuildConfig

__all__ = ["BuildConfig", "BuildResult", "build"]
