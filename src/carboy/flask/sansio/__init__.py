"""``flask.sansio``: in carboy there is no second set of classes, so these are the classes themselves."""
