"""Feeds as code: create, update, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException, BaseOperator

from airflow_provider_banksync.api.checks import one_of
from airflow_provider_banksync.exceptions import BankSyncConfigError, BankSyncNotFoundError
from airflow_provider_banksync.task import BankSyncTaskMixin, for_xcom, permanent_errors_fail, require_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context

IF_MISSING = ("succeed", "skip", "fail")
#: What a feed is born with; the API changes neither.
FIXED_FIELDS = ("source", "dataType")
#: Lists whose order means nothing.
_UNORDERED = ("sourceConfig.accounts", "sourceConfig.whitelist")
_MOST_SHOWN = 200


class BankSyncFeedOperator(BankSyncTaskMixin, BaseOperator):
    """Base of the operators that take a feed by its id or by its name.

    :param feed_id: the feed (templated). Give this or `feed_name`.
    :param feed_name: name of the feed (templated); must be unique in its workspace.
    :param banksync_conn_id: connection to use.
    :param workspace_id: portal that the feed lives in (templated); None: the connection's workspace.
    """

    template_fields: Sequence[str] = ("feed_id", "feed_name", "workspace_id", "banksync_conn_id")

    def __init__(
        self,
        *,
        feed_id: str | None = None,
        feed_name: str | None = None,
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (feed_id is None) == (feed_name is None):
            raise BankSyncConfigError("give either feed_id or feed_name, and not both.")
        self.feed_id = feed_id
        self.feed_name = feed_name
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id

    def _find_feed_id(self) -> str:
        if self.feed_name is None:
            return require_id("feed_id", self.feed_id)
        feed = self.hook.find_feed(require_id("feed_name", self.feed_name))
        feed_id = require_id("id of the feed", feed["id"])
        self.log.info("Feed %r is %s.", self.feed_name, feed_id)
        return feed_id


class BankSyncUpsertFeedOperator(BankSyncTaskMixin, BaseOperator):
    """See that there is a feed of this name and that it is as defined: feeds as code.

    The feed is looked for by its name in its workspace. Where there is none, it is created; where it differs, the
    fields that differ are updated; where it is equal, nothing is written. A task that is tried again, also after an
    answer that was lost, makes no second feed. Nor do tasks that create a feed of the same name at the same moment:
    the oldest stays, and each that made another takes its own back, and goes on with the one that stays. A feed that
    may be somebody else's is never deleted: where an answer was lost just then, both stay, and the next run names them.

    Only what `definition` names is compared, inside of objects, too: what BankSync adds by itself, and what others set
    in fields that are not named, stays; except in an object whose ``type`` changes, and in lists, which are replaced.

    Returns a dict: ``feed_id``, ``action`` (``created``, ``updated`` or ``unchanged``), ``changed`` (the fields that
    were), ``feed`` (as it is now). The id is in XCom as ``feed_id``, too.

    .. code-block:: python

        BankSyncUpsertFeedOperator(
            task_id="feed",
            name="Daily balances",
            definition={
                "source": "sync",
                "dataType": "balances",
                "sourceConfig": {"type": "sync", "accounts": [{"bankId": "…", "accountId": "…"}]},
                "destinationConfig": {"type": "notion", "integrationId": "…", "databaseId": "…"},
                "schedule": {"enabled": True, "frequency": "daily", "timeOfDay": "05:00"},
            },
        )

    :param name: name of the feed (templated). To rename a feed, rename it in BankSync first.
    :param definition: the other fields of the feed, as the API names them (templated): a dict, JSON text, or the path
        of a template file; any text that ends in ``.json`` is taken for such a path. ``source`` and ``dataType`` are
        needed to create a feed, and cannot be changed afterwards: that is an error.
    :param banksync_conn_id: connection to use.
    :param workspace_id: portal that the feed lives in (templated); None: the connection's workspace.
    """

    template_fields: Sequence[str] = ("name", "definition", "workspace_id", "banksync_conn_id")
    template_ext: Sequence[str] = (".json",)
    template_fields_renderers = {"definition": "json"}  # noqa: RUF012 - Airflow's own annotation
    ui_color = "#f4efdc"

    def __init__(
        self,
        *,
        name: str,
        definition: dict[str, Any] | str,
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.definition = definition
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Find the feed, compare, and write what differs."""
        with permanent_errors_fail():
            name = self.name
            if not isinstance(name, str) or not name.strip() or name == "None":
                raise BankSyncConfigError(f"name is {name!r}; it must be the name of a feed.")
            wanted = self._wanted(name)
            found = self._find(name)
            feed, action, changed = (
                self._create(name, wanted) if found is None else self._update(found, wanted)
            )
            feed_id = require_id("id of the feed", feed.get("id"))
            context["ti"].xcom_push(key="feed_id", value=feed_id)
            result = {"feed_id": feed_id, "action": action, "changed": changed, "feed": feed}
            return for_xcom(result)  # type: ignore[no-any-return]  # a dict stays a dict

    def _wanted(self, name: str) -> dict[str, Any]:
        from airflow_provider_banksync.api import codec

        wanted = self.definition
        if isinstance(wanted, str):
            try:
                wanted = codec.loads(wanted)
            except ValueError as error:
                raise BankSyncConfigError(f"definition is text, but not JSON: {error}.") from error
        if not isinstance(wanted, dict) or not all(isinstance(field, str) for field in wanted):
            raise BankSyncConfigError(
                f"definition must be a dict of a feed's fields, or a JSON object, not {wanted!r}."
            )
        if wanted.get("name", name) != name:
            raise BankSyncConfigError(
                f"definition names the feed {wanted['name']!r}, but name is {name!r}.",
                hint="Leave the name out of the definition.",
            )
        return {field: value for field, value in wanted.items() if field != "name"}

    def _find(self, name: str) -> dict[str, Any] | None:
        found = [feed for feed in self.hook.list_feeds() if feed.get("name") == name]
        if len(found) > 1:
            ids = ", ".join(str(feed.get("id")) for feed in found)
            raise BankSyncConfigError(
                f"{len(found)} feeds are named {name!r}: {ids}.",
                hint="Rename all but one of them in BankSync, so that it is clear which one is meant.",
            )
        return found[0] if found else None

    def _create(self, name: str, wanted: dict[str, Any]) -> tuple[dict[str, Any], str, list[str]]:
        missing = [field for field in FIXED_FIELDS if not wanted.get(field)]
        if missing:
            raise BankSyncConfigError(
                f"there is no feed {name!r}, and definition lacks {' and '.join(missing)}, without which none can be "
                "created."
            )
        from airflow_provider_banksync.api import conversations

        single = conversations.create_single_feed({"name": name, **wanted})
        feed, created = self.hook.get_conn().run(single)
        if not created:
            self.log.info(
                "Somebody else created feed %r at the same moment: on with %s.", name, feed.get("id")
            )
            return self._update(feed, wanted)
        self.log.info("Created feed %r: %s.", name, feed.get("id"))
        self._warn_of_ignored(feed, wanted)
        return feed, "created", sorted(wanted)

    def _update(self, feed: dict[str, Any], wanted: dict[str, Any]) -> tuple[dict[str, Any], str, list[str]]:
        changed = differing(feed, wanted)
        fixed = [field for field in FIXED_FIELDS if field in changed]
        if fixed:
            what = ", ".join(f"{field} is {feed.get(field)!r}, not {wanted[field]!r}" for field in fixed)
            raise BankSyncConfigError(
                f"feed {self.name!r} ({feed.get('id')}): {what}; BankSync cannot change that.",
                hint="Give the new feed another name, or delete the old one first (BankSyncDeleteFeedOperator).",
            )
        if not changed:
            self.log.info("Feed %r (%s) is as defined.", self.name, feed.get("id"))
            return feed, "unchanged", []
        for field in changed:
            self.log.info("%s: %s becomes %s.", field, _shown(feed.get(field)), _shown(wanted[field]))
        updated = self.hook.update_feed(
            feed["id"], {field: _merged(feed.get(field), wanted[field]) for field in changed}
        )
        self.log.info("Updated feed %r (%s).", self.name, feed.get("id"))
        self._warn_of_ignored(updated, wanted)
        return updated, "updated", changed

    def _warn_of_ignored(self, feed: dict[str, Any], wanted: dict[str, Any]) -> None:
        """Say what BankSync did not take as it was given: a field that it does not know, or writes another way."""
        for field in differing(feed, wanted):
            self.log.warning(
                "BankSync did not take %s over as defined: it is %s, not %s. The next run will write it again.",
                field,
                _shown(feed.get(field)),
                _shown(wanted[field]),
            )


class BankSyncDeleteFeedOperator(BankSyncFeedOperator):
    """Delete a feed, with the record of its jobs. What it has written to its destination stays there.

    Returns a dict: ``feed_id`` (None, where there was no feed of that name) and ``deleted``.

    :param feed_id: feed to delete (templated). Give this or `feed_name`.
    :param feed_name: name of the feed to delete (templated); must be unique in its workspace.
    :param banksync_conn_id: connection to use.
    :param workspace_id: portal that the feed lives in (templated); None: the connection's workspace.
    :param if_missing: what to do where there is no such feed. ``succeed``: nothing, so that a task can be tried
        again. ``skip``: skip the task. ``fail``: fail it. A workspace that there is not fails it in every case.
    """

    ui_color = "#f6e3dc"

    def __init__(self, *, if_missing: str = "succeed", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.if_missing = one_of("if_missing", if_missing, IF_MISSING)

    def execute(self, context: Context) -> dict[str, Any]:
        """Delete it, if it is there."""
        feed_id = self.feed_id
        with permanent_errors_fail():
            try:
                feed_id = self._find_feed_id()
                self.hook.delete_feed(feed_id)
            except BankSyncNotFoundError as error:
                if self.if_missing == "fail":
                    raise
                if error.status is not None:  # a 404, which may as well be said of the workspace
                    self.hook.list_feeds()
                if self.if_missing == "skip":
                    raise AirflowSkipException(f"There is no such feed: {error}") from error
                self.log.warning("Nothing to delete: %s", error)
                return {"feed_id": feed_id, "deleted": False}
        self.log.info("Deleted feed %s.", feed_id)
        return {"feed_id": feed_id, "deleted": True}


def differing(feed: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return the fields that are not as wanted, sorted."""
    return sorted(field for field, value in wanted.items() if not _matches(feed.get(field), value, field))


def _merged(have: Any, want: Any) -> Any:
    """Return what is wanted, with what else there is: BankSync replaces an object as a whole."""
    if not isinstance(have, dict) or not isinstance(want, dict):
        return want
    if want.get("type", have.get("type")) != have.get("type"):
        return want  # another kind of destination has other fields
    return {**have, **{name: _merged(have.get(name), value) for name, value in want.items()}}


def _matches(have: Any, want: Any, path: str) -> bool:
    """Tell whether all that is wanted is there: an object may have more than that, a list may not."""
    if have is None and want in (None, {}, []):
        return True
    if isinstance(want, dict):
        return isinstance(have, dict) and all(
            _matches(have.get(name), value, f"{path}.{name}") for name, value in want.items()
        )
    if isinstance(want, (list, tuple)):
        if not isinstance(have, list) or len(have) != len(want):
            return False
        if path in _UNORDERED:
            return _pairs_off(list(have), list(want), path)
        return all(_matches(theirs, ours, path) for theirs, ours in zip(have, want, strict=True))
    return _equal(have, want)


def _pairs_off(have: list[Any], want: list[Any], path: str) -> bool:
    for ours in want:
        match = next((index for index, theirs in enumerate(have) if _matches(theirs, ours, path)), None)
        if match is None:
            return False
        del have[match]
    return True


def _equal(have: Any, want: Any) -> bool:
    from decimal import Decimal

    if isinstance(have, bool) or isinstance(want, bool):
        return have is want
    if isinstance(have, (int, float, Decimal)) and isinstance(want, (int, float, Decimal)):
        return Decimal(str(have)) == Decimal(
            str(want)
        )  # the API's 0.1 is a Decimal, that of a DAG file a float
    return bool(have == want)


def _shown(value: Any) -> str:
    from airflow_provider_banksync.api import codec
    from airflow_provider_banksync.api.redaction import scrub

    return scrub(codec.dumps(value).decode())[:_MOST_SHOWN]
