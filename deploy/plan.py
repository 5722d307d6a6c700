"""What a deploy runs. Pure: names in, command lines out; cloudbuild.yaml has the same lines."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from deploy.errors import SourceError
from deploy.names import GATEWAY, Target, job, scheduled

IMAGE = "image"
RUNTIME = "python312"
# What `gcloud builds submit` leaves at home: .gcloudignore lets in only what functions need.
BUILD_IGNORE = ".cloudbuildignore"


@dataclass(frozen=True, slots=True)
class Step:
    """One command, run in the folder of the sources once all that it comes after has succeeded."""

    name: str
    arguments: tuple[str, ...]
    after: tuple[str, ...] = ()


def plan(target: Target, functions: tuple[str, ...]) -> tuple[Step, ...]:
    """Return all steps of a deploy.

    The gateway comes last: a function that is older than the frames it gets leaves them waiting.
    """
    image = Step(IMAGE, _build_image(target))
    deployed = [Step(name, _deploy_function(name, target)) for name in functions]
    gateway = Step(GATEWAY, _update_gateway(target), after=(IMAGE, *functions))
    return image, *deployed, gateway


def only(steps: Iterable[Step], wanted: Collection[str]) -> tuple[Step, ...]:
    """Return some of the steps; the gateway brings its image along."""
    known = {step.name: step for step in steps}
    unknown = sorted(set(wanted) - known.keys())
    if unknown:
        raise SourceError(
            f"--only: {', '.join(unknown)} is nothing to deploy; choose from {', '.join(known)}"
        )
    chosen = {*wanted, *({IMAGE} if GATEWAY in wanted else ())}
    return tuple(
        replace(step, after=tuple(name for name in step.after if name in chosen))
        for step in known.values()
        if step.name in chosen
    )


def run_schedules(target: Target, functions: tuple[str, ...]) -> tuple[Step, ...]:
    """Return what makes Scheduler call each function now."""
    return tuple(
        Step(
            name,
            (
                "gcloud", "scheduler", "jobs", "run", job(name),
                f"--project={target.project}",
                f"--location={target.region}",
                "--quiet",
            ),
        )
        for name in scheduled(functions)
    )  # fmt: skip


def _deploy_function(name: str, target: Target) -> tuple[str, ...]:
    """Return the line that gives an existing function new code.

    What has no flag here stays as Terraform made it. No --no-allow-unauthenticated: for a function
    that is there, gcloud would rewrite its IAM policy, and who may do that may open it to all.
    --build-service-account repeats what Terraform says, because without it gcloud asks for the
    project's default account, which nobody here needs to be allowed.
    """
    return (
        "gcloud", "functions", "deploy", name,
        "--gen2",
        f"--project={target.project}",
        f"--region={target.region}",
        f"--runtime={RUNTIME}",
        "--source=.",
        f"--entry-point={name}",
        "--trigger-http",
        f"--set-build-env-vars=GOOGLE_FUNCTION_SOURCE=functions/{name}.py",
        f"--build-service-account={target.account_path('build')}",
        f"--update-labels=commit={target.commit}",
        "--quiet",
    )  # fmt: skip


def _build_image(target: Target) -> tuple[str, ...]:
    return (
        "gcloud", "builds", "submit", ".",
        f"--project={target.project}",
        f"--region={target.region}",
        "--config=ingest_gateway/cloudbuild.yaml",
        f"--ignore-file={BUILD_IGNORE}",
        f"--gcs-source-staging-dir=gs://{target.staging}/gateway",
        f"--service-account={target.account_path('build')}",
        f"--substitutions=_IMAGE={target.image},_COMMIT={target.commit}",
        "--quiet",
    )  # fmt: skip


def _update_gateway(target: Target) -> tuple[str, ...]:
    return (
        "gcloud", "run", "services", "update", GATEWAY,
        f"--project={target.project}",
        f"--region={target.region}",
        f"--image={target.image}",
        "--quiet",
    )  # fmt: skip
