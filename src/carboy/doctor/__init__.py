"""What to expect of an application on carboy: the examination behind ``carboy doctor``."""

from .examination import examine as examine
from .findings import Finding as Finding
from .findings import Report as Report
