"""Feeds as code: create, update, delete."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import AirflowSkipException, BaseOperator

from airflow_provider_banksync.api.validation import IF_MISSING, validate_choice
from airflow_provider_banksync.exceptions import BankSyncConfigError, BankSyncNotFoundError
from airflow_provider_banksync.tasks.base import (
    BankSyncTaskMixin,
    fail_on_permanent_errors,
    outlast_not_found,
    require_id,
)
from airflow_provider_banksync.tasks.literals import validate_literal_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.api.validation import IfMissing

T = TypeVar("T")
#: A new feed needs these fields. The API cannot change them later.
FIXED_FIELDS = ("source", "dataType")


class BankSyncFeedOperator(BankSyncTaskMixin, BaseOperator):
    """Base of the operators that take a feed by its id or its name.

    :param feed_id: the feed (templated). Pass this or `feed_name`.
    :param feed_name: name of the feed (templated). It must be unique in its workspace.
    :param banksync_conn_id: connection to use.
    :param workspace_id: workspace of the feed, for example a portal (templated); None for the connection's.
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
        if feed_id is None and feed_name is None:
            raise BankSyncConfigError("neither feed_id nor feed_name is given. Pass one of them.")
        if feed_id is not None and feed_name is not None:
            raise BankSyncConfigError("feed_id and feed_name are both given. Pass only one of them.")
        validate_literal_arguments(feed_id=feed_id, workspace_id=workspace_id)
        self.feed_id = feed_id
        self.feed_name = feed_name
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id

    def _find_feed_id(self) -> str:
        if self.feed_name is None:
            return require_id("feed_id", self.feed_id)
        feed = self.hook.find_feed(require_id("feed_name", self.feed_name))
        feed_id = require_id("id of the feed", feed["id"])
        self.log.info('Feed "%s" has the id %s.', self._shown_name(), feed_id)
        return feed_id

    def _outlasting(self, action: Callable[[], T]) -> Callable[[], T]:
        """Return a function about the feed. If a listing has just had the feed, a 404 must last a minute."""
        return action if self.feed_name is None else partial(outlast_not_found, action, self.log)

    def _shown_name(self) -> str:
        """Return the name of the feed for the log. It may come from a listing."""
        from airflow_provider_banksync.api.redaction import show_name

        return show_name(self.feed_name)

    def _describe_feed(self, job: dict[str, Any]) -> str:
        """Return the feed of a job and its workspace, names first."""
        workspace_id = self.workspace_id or job.get("workspaceId")
        feed = (
            f'"{self._shown_name()}" ({job.get("feedId")})' if self.feed_name else f"feed {job.get('feedId')}"
        )
        return f"{feed} in workspace {workspace_id}" if workspace_id else feed


class BankSyncUpsertFeedOperator(BankSyncTaskMixin, BaseOperator):
    """Create or update the feed of this name, so that it matches the definition: feeds as code.

    The operator finds the feed by its name in its workspace. It creates a missing feed, updates the fields that differ,
    and writes nothing if none does. A retry does not create a second feed. If several tasks create a feed of the same
    name at the same time, the oldest one stays. If an answer is lost at that moment, two feeds may stay; the next run
    fails and names both.

    Only the fields in `definition` are compared, also inside objects. Other fields keep their values, except in an
    object whose ``type`` changes. Lists are replaced as a whole.

    Returns a dict: ``feed_id``, ``action`` (``created``, ``updated`` or ``unchanged``), ``changed`` (names of the
    changed fields) and ``feed`` (the feed after the task). The XCom ``feed_id`` holds the id.

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

    :param name: name of the feed (templated). Spaces around it do not count. To rename a feed, rename it in BankSync
        first.
    :param definition: the other fields of the feed, as the API names them (templated): a dict, JSON text, or the path
        of a template file. If the whole definition is text that ends in ``.json``, it is a path. ``source`` and
        ``dataType`` are required to create a feed. To change them later is an error.
    :param banksync_conn_id: connection to use.
    :param workspace_id: workspace of the feed, for example a portal (templated); None for the connection's.
    """

    template_fields: Sequence[str] = ("name", "definition", "workspace_id", "banksync_conn_id")
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
        validate_literal_arguments(workspace_id=workspace_id)
        self.name = name
        self.definition = definition
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id

    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Context, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        """Read the template file, if `definition` names one, and render. Mapped tasks also call it.

        Airflow's ``template_ext`` would apply to every text: a feed named "accounts.json" would be a file, too.
        """
        from airflow_provider_banksync.tasks.xcom import TEMPLATE_FILE, row_texts

        path = self.definition
        if isinstance(path, str) and path.endswith(TEMPLATE_FILE):
            seen_oids |= row_texts(self, context, template_fields)
            if id(path) not in seen_oids:
                self.definition = jinja_env.loader.get_source(jinja_env, path)[0]
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)

    def execute(self, context: Context) -> dict[str, Any]:
        """Find the feed, compare it with the definition, and write the differences."""
        with fail_on_permanent_errors():
            name = self.name
            if not isinstance(name, str) or not name.strip() or name == "None":
                raise BankSyncConfigError(f"name is {name!r}; it must be the name of a feed.")
            definition = self._parse_definition(name)
            existing = self._find(name)
            feed, action, changed = (
                self._create(name.strip(), definition)
                if existing is None
                else self._update(existing, definition)
            )
            feed_id = require_id("id of the feed", feed.get("id"))
            context["ti"].xcom_push(key="feed_id", value=self.to_xcom(feed_id))
            result = {"feed_id": feed_id, "action": action, "changed": changed, "feed": feed}
            return self.to_xcom(result)  # type: ignore[no-any-return]  # a dict stays a dict

    def _parse_definition(self, name: str) -> dict[str, Any]:
        from airflow_provider_banksync.api import codec

        definition = self.definition
        if isinstance(definition, str):
            try:
                definition = codec.loads(definition)
            except ValueError as error:
                raise BankSyncConfigError(f"definition is text, but not JSON: {error}.") from error
        if not isinstance(definition, dict) or not all(isinstance(field, str) for field in definition):
            raise BankSyncConfigError(
                f"definition must be a dict of a feed's fields, or a JSON object, not {definition!r}."
            )
        if str(definition.get("name", name)).strip() != name.strip():
            raise BankSyncConfigError(
                f"definition names the feed {definition['name']!r}, but name is {name!r}.",
                hint="Remove the name from the definition.",
            )
        return {field: value for field, value in definition.items() if field != "name"}

    def _find(self, name: str) -> dict[str, Any] | None:
        from airflow_provider_banksync.hooks.feeds import feeds_named

        feeds = feeds_named(self.hook.list_feeds(), name)
        if len(feeds) > 1:
            ids = ", ".join(str(feed.get("id")) for feed in feeds)
            raise BankSyncConfigError(
                f"{len(feeds)} feeds are named {name!r}: {ids}.",
                hint="Rename all but one of them in BankSync.",
            )
        return feeds[0] if feeds else None

    def _create(self, name: str, definition: dict[str, Any]) -> tuple[dict[str, Any], str, list[str]]:
        from airflow_provider_banksync.api.flows import writes

        missing = [field for field in FIXED_FIELDS if not definition.get(field)]
        if missing:
            raise BankSyncConfigError(
                f"feed {name!r} does not exist, and definition lacks {' and '.join(missing)}, which BankSync needs to "
                "create it."
            )
        feed, created = self.hook.get_conn().run(writes.create_unique_feed({"name": name, **definition}))
        if not created:
            self.log.info('Another task created feed "%s" (%s) at the same time.', name, feed.get("id"))
            return self._update(feed, definition)
        self.log.info('Created feed "%s" (%s).', name, feed.get("id"))
        self._warn_about_ignored_fields(feed, definition)
        return feed, "created", sorted(definition)

    def _update(
        self, feed: dict[str, Any], definition: dict[str, Any]
    ) -> tuple[dict[str, Any], str, list[str]]:
        from airflow_provider_banksync.tasks.feed_definition import changed_fields, merge, preview

        changed = changed_fields(feed, definition)
        fixed = [field for field in FIXED_FIELDS if field in changed]
        if fixed:
            what = ", ".join(f"{field} is {feed.get(field)!r}, not {definition[field]!r}" for field in fixed)
            raise BankSyncConfigError(
                f"feed {self.name!r} ({feed.get('id')}): {what}. BankSync cannot change that.",
                hint="Give the new feed another name, or delete the old one first (BankSyncDeleteFeedOperator).",
            )
        if not changed:
            self.log.info('Feed "%s" (%s) is as defined.', self.name, feed.get("id"))
            return feed, "unchanged", []
        for field in changed:
            before, after = preview(feed.get(field)), preview(definition[field])
            self.log.info("Changing %s from %s to %s.", field, before, after)
        body = {field: merge(feed.get(field), definition[field]) for field in changed}
        updated = outlast_not_found(lambda: self.hook.update_feed(feed["id"], body), self.log)
        self.log.info('Updated feed "%s" (%s).', self.name, feed.get("id"))
        self._warn_about_ignored_fields(updated, definition)
        return updated, "updated", changed

    def _warn_about_ignored_fields(self, feed: dict[str, Any], definition: dict[str, Any]) -> None:
        """Log the fields that BankSync ignored, or stored in another form."""
        from airflow_provider_banksync.tasks.feed_definition import changed_fields, preview

        for field in changed_fields(feed, definition):
            self.log.warning(
                "BankSync did not store %s as defined: it is %s, not %s. The next run writes it again.",
                field,
                preview(feed.get(field)),
                preview(definition[field]),
            )


class BankSyncDeleteFeedOperator(BankSyncFeedOperator):
    """Delete a feed and its jobs. The rows in its destination stay there.

    Returns a dict: ``feed_id`` (None if no feed has that name) and ``deleted``.

    :param feed_id: feed to delete (templated). Pass this or `feed_name`.
    :param feed_name: name of the feed to delete (templated). It must be unique in its workspace.
    :param banksync_conn_id: connection to use.
    :param workspace_id: workspace of the feed, for example a portal (templated); None for the connection's.
    :param if_missing: what to do if the feed does not exist. ``succeed``: nothing, so that Airflow can retry the task.
        ``skip``: skip the task. ``fail``: fail the task. A workspace that does not exist always fails the task.
    """

    ui_color = "#f6e3dc"

    def __init__(self, *, if_missing: IfMissing = "succeed", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.if_missing = validate_choice("if_missing", if_missing, IF_MISSING)

    def execute(self, context: Context) -> dict[str, Any]:
        """Delete the feed."""
        feed_id = self.feed_id
        with fail_on_permanent_errors():
            try:
                feed_id = found = self._find_feed_id()
                self._outlasting(lambda: self.hook.delete_feed(found))()
            except BankSyncNotFoundError as error:
                if self.if_missing == "fail":
                    raise
                if error.status is not None:  # a 404 may concern the workspace as well
                    self.hook.list_feeds()
                if self.if_missing == "skip":
                    raise AirflowSkipException(f"The feed does not exist: {error}") from error
                self.log.warning("The feed does not exist, so nothing was deleted: %s", error)
                return {"feed_id": feed_id, "deleted": False}
        self.log.info("Deleted feed %s.", feed_id)
        return {"feed_id": feed_id, "deleted": True}
