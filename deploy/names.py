"""What is where in the cloud, by name. Pure: Terraform makes what stands here under these names."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Pub/Sub pushes to it; Scheduler calls all others.
PUSHED = ("predict",)
GATEWAY = "gateway"
REPOSITORY = "quotewatch"
TOPIC = "features"
# The project's own roles; terraform/data says what is in them.
DEPLOY_ROLE, UPLOAD_ROLE = "quotewatchDeploy", "quotewatchUpload"


def functions(folder: Path = ROOT / "functions") -> tuple[str, ...]:
    """Name what is deployed: the doors. What begins with an underscore is shared by them."""
    return tuple(sorted(door.stem for door in folder.glob("*.py") if door.stem[0] != "_"))


def scheduled(names: tuple[str, ...]) -> tuple[str, ...]:
    """Name the functions that Scheduler calls."""
    return tuple(name for name in names if name not in PUSHED)


def job(function: str) -> str:
    """Name the schedule of a function."""
    return f"quotewatch-{function}"


@dataclass(frozen=True, slots=True)
class Target:
    """Where to, and which commit. `commit` is what labels and tags say."""

    project: str
    region: str
    commit: str

    @property
    def image(self) -> str:
        """The gateway's image."""
        registry = f"{self.region}-docker.pkg.dev"
        return f"{registry}/{self.project}/{REPOSITORY}/{GATEWAY}:{self.commit}"

    @property
    def staging(self) -> str:
        """The bucket that sources are uploaded to."""
        return f"{self.project}-quotewatch-source"

    def account(self, component: str) -> str:
        """Return the service account of a component."""
        return f"quotewatch-{component}@{self.project}.iam.gserviceaccount.com"

    def account_path(self, component: str) -> str:
        """Return the service account of a component as a resource."""
        return f"projects/{self.project}/serviceAccounts/{self.account(component)}"
