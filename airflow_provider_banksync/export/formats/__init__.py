"""The file formats, and a row writer for each."""

from airflow_provider_banksync.api.validation import COMPRESSIONS, FORMATS, validate_choice

__all__ = ["COMPRESSIONS", "FORMATS", "validate_format"]


def validate_format(file_format: str, compression: str | None) -> None:
    """Refuse an unknown format or compression. Loads nothing.

    :raises BankSyncConfigError: naming the parameter.
    """
    validate_choice("file_format", file_format, FORMATS)
    validate_choice("compression", compression, (None, *COMPRESSIONS))
